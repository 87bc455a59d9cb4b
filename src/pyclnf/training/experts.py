"""Training of one CCNF patch expert from windows around its landmark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy.optimize import minimize

from pyclnf._limits import MAX_NEURONS, MAX_SUPPORT, MAX_WINDOW
from pyclnf.errors import TrainingError
from pyclnf.patch_experts import GRADIENT, GREY
from pyclnf.training.ccnf import CCNF, CCNFParameters, log_likelihood, sigma_components
from pyclnf.training.checks import are_numbers, are_whole
from pyclnf.training.samples import gradient_magnitude, normalised_patches, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyclnf.training.samples import Windows

__all__ = ["Expert", "ExpertConfig", "train_ccnf"]

# Width of the Gaussian in which the peak of a response is refined, px of the patch scale.
PEAK_SIGMA = 1.0

# Of log alpha and log beta.
LOG_BOUNDS = (-9.0, 9.0)

# Windows whose patches are made at once.
CHUNK = 64


@dataclass(frozen=True)
class ExpertConfig:
    """How an expert is trained.

    Attributes
    ----------
    support : int
        Side of a neuron's patch, px of the patch scale.
    window : int
        Side of the training windows; the expert works with windows of any size.
    n_grey, n_gradient : int
        Neurons on grey values and on Sobel gradient magnitude.
    components : int
        The neurons are trained on so many whitened principal components of the
        patches: training is several times faster than on pixels, and the weights are smooth.
    sigma : float
        Width of the response wanted at the true landmark, px of the patch scale.
    starts : int
        Random starts; the best after *warm_up* iterations is carried on.
    warm_up, max_iterations : int
        Iterations of L-BFGS for each start, and in all.
    check_every, patience : int
        The held-out likelihood is taken every so many iterations; training ends
        when it has not improved so many times.
    penalty : float
        Of the squared neuron weights.
    noise : float
        Standard deviation of the noise that the responses wanted are taken to have.
    """

    support: int = 11
    window: int = 9
    n_grey: int = 4
    n_gradient: int = 3
    components: int = 40
    sigma: float = 1.0
    starts: int = 2
    warm_up: int = 10
    max_iterations: int = 80
    check_every: int = 5
    patience: int = 2
    penalty: float = 1e-3
    noise: float = 0.2

    def __post_init__(self) -> None:
        counts = (self.support, self.window, self.n_grey, self.n_gradient, self.components, self.starts)
        if not are_whole(*counts, self.warm_up, self.max_iterations, self.check_every, self.patience):
            raise TrainingError("support, window and all counts of an expert are whole numbers")
        if self.support < 3 or self.window < 3 or self.support % 2 == 0 or self.window % 2 == 0:
            raise TrainingError("support and window are odd and at least 3")
        if self.n_grey < 0 or self.n_gradient < 0 or self.n_grey + self.n_gradient == 0:
            raise TrainingError("an expert needs at least one neuron")
        if not 1 <= self.components <= self.support**2:
            raise TrainingError("components is a number from 1 to the pixels of a patch")
        if self.support > MAX_SUPPORT or self.window > MAX_WINDOW:
            raise TrainingError(f"a support has at most {MAX_SUPPORT} px, a window {MAX_WINDOW}")
        if self.n_grey + self.n_gradient > MAX_NEURONS:
            raise TrainingError(f"an expert has at most {MAX_NEURONS} neurons")
        if self.check_every < 1 or self.patience < 1:
            raise TrainingError("check_every and patience are at least 1")
        if not (
            are_numbers(self.sigma, self.noise, self.penalty)
            and self.sigma > 0
            and self.noise > 0
            and self.penalty >= 0
        ):
            raise TrainingError("sigma and noise are positive, penalty is not negative")
        if self.starts < 1 or self.warm_up < 1 or self.max_iterations <= self.warm_up:
            raise TrainingError("starts and warm_up are at least 1, max_iterations more than warm_up")

    @property
    def area(self) -> int:
        """Side of the area of interest of a training window."""
        return self.window + self.support - 1

    @property
    def types(self) -> NDArray[np.int32]:
        """Types of the neurons, (K,)."""
        return np.repeat(np.array([GREY, GRADIENT], np.int32), [self.n_grey, self.n_gradient])


@dataclass(frozen=True, eq=False)
class Expert:
    """A trained expert, in the terms of the CCNF files.

    Attributes
    ----------
    types : ndarray, shape (K,), int32
    weights : ndarray, shape (K, h, w), float32
        Unit norm.
    norm_weights, biases, alphas : ndarray, shape (K,), float64
    betas : ndarray, shape (B,), float64
    confidence : float
        See `train_ccnf`.
    error : float
        Root of the mean squared distance of the response's peak from the
        landmark in held-out windows, px of the patch scale.
    likelihood : float
        Mean log-likelihood of the held-out windows.
    """

    types: NDArray[np.int32]
    weights: NDArray[np.float32]
    norm_weights: NDArray[np.float64]
    biases: NDArray[np.float64]
    alphas: NDArray[np.float64]
    betas: NDArray[np.float64]
    confidence: float
    error: float
    likelihood: float

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields as arrays."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Expert:
        """Return the expert whose `arrays` these are."""
        numbers = {name: float(arrays[name]) for name in ("confidence", "error", "likelihood")}
        return cls(**{**arrays, **numbers})  # type: ignore[arg-type]

    def mirrored(self) -> Expert:
        """Return the expert of the landmark on the other side of the face."""
        return replace(self, weights=np.ascontiguousarray(self.weights[:, :, ::-1]))


def train_ccnf(windows: Windows, config: ExpertConfig | None = None, seed: int | Sequence[int] = 0) -> Expert:
    """Train the patch expert of one landmark in one view at one scale.

    The conditional log-likelihood of the wanted responses is maximised with
    L-BFGS from several random starts, until it no longer grows for the held-out
    windows.

    The expert's confidence is the inverse of the mean squared error of the
    peak of its response, ``1 / (1 + e^2)`` with e in px of the patch scale: the
    weight that a least-squares fit should give to it, in (0, 1].

    Parameters
    ----------
    windows : Windows
    config : ExpertConfig, optional
    seed : int or sequence of int

    Returns
    -------
    Expert

    Raises
    ------
    TrainingError
        If there are no windows to learn from, or none held out, or nothing is to be seen in them.
    """
    config = config or ExpertConfig()
    if windows.areas.shape[1:] != (config.area, config.area):
        raise TrainingError(
            f"areas of side {config.area} are needed for window {config.window} and support "
            f"{config.support}, not {windows.areas.shape[1:]}"
        )
    seen = windows.weights > 0
    if not (seen & windows.held_out).any() or not (seen & ~windows.held_out).any():
        raise TrainingError("an expert needs windows to learn from and held-out ones: give more identities")
    bases = [_basis(make(windows.areas[seen & ~windows.held_out][::5]), config) for _, make in _kinds(config)]
    training = _model(windows, seen & ~windows.held_out, bases, config)
    held_out = _model(windows, seen & windows.held_out, bases, config)
    rng = np.random.default_rng(seed)
    starts = [_random_start(config, rng) for _ in range(config.starts)]
    iterations = config.max_iterations
    if len(starts) > 1:
        starts = [_optimise(training, start, config.warm_up) for start in starts]
        iterations -= config.warm_up
    best = min(starts, key=lambda v: training.objective(v)[0])
    best, likelihood = _early_stopping(training, held_out, best, iterations, config)
    parameters = training.unpack(best)
    used = seen & windows.held_out
    responses = held_out.responses(parameters)
    error = localisation_error(responses, windows.offsets[used], windows.weights[used], config.window)
    counts = [n for n, _ in _kinds(config)]
    each = np.split(parameters.weights, np.cumsum(counts)[:-1])
    weights = np.concatenate([w @ basis.T for w, basis in zip(each, bases, strict=True)])
    norms = np.maximum(np.linalg.norm(weights, axis=1), np.finfo(np.float32).tiny)
    unit = (weights / norms[:, None]).reshape(-1, config.support, config.support)
    return Expert(
        types=config.types,
        weights=unit.astype(np.float32),
        norm_weights=norms,
        biases=parameters.biases,
        alphas=parameters.alphas,
        betas=parameters.betas,
        confidence=1.0 / (1.0 + error**2),
        error=error,
        likelihood=likelihood,
    )


def localisation_error(
    responses: NDArray[np.float64], offsets: NDArray[np.float64], weights: NDArray[np.float64], window: int
) -> float:
    """Return the root mean square distance of the responses' peaks from the landmarks inside the windows.

    A peak is the maximum, refined to the mean of the response under a Gaussian
    around it, which is what a fit's mean shift sees.
    """
    half = (window - 1) / 2
    inside = (np.abs(offsets) <= half).all(axis=1)
    if not inside.any():
        raise TrainingError("no held-out window has its landmark inside: hold out more images")
    maps = responses[inside]
    maps = maps - np.minimum(maps.min(axis=1, keepdims=True), 0)
    y, x = np.divmod(np.arange(window * window), window)
    grid = np.column_stack([x, y]) - half
    peaks = grid[maps.argmax(axis=1)]
    kernel = maps * np.exp(-0.5 * ((peaks[:, None] - grid) ** 2).sum(axis=2) / PEAK_SIGMA**2)
    means = (kernel @ grid) / np.maximum(kernel.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    squared = ((means - offsets[inside]) ** 2).sum(axis=1)
    return float(np.sqrt(np.average(squared, weights=weights[inside])))


def _kinds(config: ExpertConfig) -> list[tuple[int, Callable[[NDArray[Any]], NDArray[np.float32]]]]:
    """Return for each kind of neurons that there are their number, and what makes their input of areas."""
    kinds = [(config.n_grey, _grey), (config.n_gradient, gradient_magnitude)]
    return [(n, make) for n, make in kinds if n]


def _grey(areas: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(areas, dtype=np.float32)


def _basis(areas: NDArray[np.float32], config: ExpertConfig) -> NDArray[np.float64]:
    """Return the map from whitened principal components to pixels of a patch, (d, components)."""
    patches = normalised_patches(areas, config.support)
    values, vectors = np.linalg.eigh((patches.T @ patches).astype(np.float64) / len(patches))
    values, vectors = values[::-1][: config.components], vectors[:, ::-1][:, : config.components]
    if not values[0] > 0:
        raise TrainingError("the windows to learn from are all of one grey level")
    # What varies hardly at all is not blown up.
    return np.asarray(vectors / np.sqrt(values + 1e-3 * values[0]))


def _model(
    windows: Windows, chosen: NDArray[np.bool_], bases: list[NDArray[np.float64]], config: ExpertConfig
) -> CCNF:
    """Return the likelihood of the chosen windows, with the components of their patches as input."""
    inputs, kinds = [], []
    rows = np.flatnonzero(chosen)
    for index, ((n, make), basis) in enumerate(zip(_kinds(config), bases, strict=True)):
        B = basis.astype(np.float32)
        # A few windows at a time: the patches of all would fill the memory.
        parts = [
            normalised_patches(make(windows.areas[rows[first : first + CHUNK]]), config.support) @ B
            for first in range(0, rows.size, CHUNK)
        ]
        inputs.append(np.concatenate(parts))
        kinds += [index] * n
    return CCNF(
        inputs,
        np.array(kinds),
        targets(windows.offsets[chosen], config.window, config.sigma),
        windows.weights[chosen],
        sigma_components(config.window),
        config.penalty,
        config.noise,
    )


def _random_start(config: ExpertConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random parameter vector with responses of the right order of magnitude."""
    n, d = len(config.types), config.components
    return CCNFParameters(
        weights=rng.normal(scale=d**-0.5, size=(n, d)),
        biases=np.full(n, -2.0) + rng.normal(scale=0.5, size=n),
        alphas=np.full(n, 20.0 / n),
        betas=np.full(3, 0.1),
    ).pack()


def _optimise(model: CCNF, start: NDArray[np.float64], iterations: int) -> NDArray[np.float64]:
    return np.asarray(_minimize(model, start, iterations).x)


def _minimize(
    model: CCNF,
    start: NDArray[np.float64],
    iterations: int,
    callback: Callable[[NDArray[np.float64]], None] | None = None,
) -> Any:
    options: Any = {"maxiter": iterations, "maxcor": 20}
    # SciPy's stubs ask for arrays that are one-dimensional by their type.
    objective, x0, called = cast("Any", (model.objective, start, callback))
    n_free = start.size - model.n_neurons - len(model.components)
    # Without bounds a step of the line search may leave a precision that is singular in float64.
    bounds = [(None, None)] * n_free + [LOG_BOUNDS] * (start.size - n_free)
    return minimize(
        objective, x0, jac=True, method="L-BFGS-B", bounds=bounds, callback=called, options=options
    )


def _early_stopping(
    training: CCNF, held_out: CCNF, start: NDArray[np.float64], iterations: int, config: ExpertConfig
) -> tuple[NDArray[np.float64], float]:
    """Return the parameters with the best held-out likelihood on the way, and that likelihood."""
    best, best_likelihood = start, log_likelihood(held_out, held_out.unpack(start))
    iteration = stalled = 0

    def check(vector: NDArray[np.float64]) -> None:
        nonlocal best, best_likelihood, iteration, stalled
        iteration += 1
        if iteration % config.check_every and iteration < iterations:
            return
        likelihood = log_likelihood(held_out, held_out.unpack(vector))
        if likelihood > best_likelihood:
            best, best_likelihood, stalled = vector.copy(), likelihood, 0
        else:
            stalled += 1
            if stalled >= config.patience:
                raise StopIteration

    _minimize(training, start, iterations, check)
    return best, best_likelihood
