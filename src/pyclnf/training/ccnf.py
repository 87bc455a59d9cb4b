"""The conditional likelihood of a CCNF patch expert, and its gradient.

An expert sees P positions of a window. Neuron k answers ``h_ik = sigmoid(theta_k
. x_i + b_k)`` to the normalised patch x_i; with ``u_i = 2 sum_k alpha_k h_ik``
and ``Lambda = 2 (sum_k alpha_k I + sum_b beta_b S_b)`` the response y of the
window is normal with mean ``Lambda^-1 u`` and covariance ``Lambda^-1``.

Source: Baltrusaitis, Robinson, Morency, "Constrained Local Neural Fields for
robust facial landmark detection in the wild", ICCV Workshops 2013, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["CCNF", "CCNFParameters", "log_likelihood", "sigma_components"]


def sigma_components(window: int) -> NDArray[np.float32]:
    """Return the edges of the field for a window: two similarities and one sparsity.

    Similarity couples the four neighbours (component 0) and the diagonal ones
    (component 1) by ``(y_i - y_j)^2``; sparsity (component 2) couples
    positions 4 to 6 apart by ``(y_i + y_j)^2``, so that not both have a peak.
    All three are positive semidefinite: Lambda is positive definite for any
    alpha > 0 and beta >= 0.

    Parameters
    ----------
    window : int
        Side w of the window.

    Returns
    -------
    ndarray, shape (3, w*w, w*w), float32
        Positions row-major.
    """
    y, x = np.divmod(np.arange(window * window), window)
    squared = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    straight, diagonal, far = squared == 1, squared == 2, (squared >= 16) & (squared <= 36)
    return np.stack(
        [
            np.diag(edges.sum(axis=1)) + sign * edges
            for edges, sign in ((straight, -1), (diagonal, -1), (far, 1))
        ]
    ).astype(np.float32)


@dataclass(frozen=True, eq=False)
class CCNFParameters:
    """Parameters of one expert.

    Attributes
    ----------
    weights : ndarray, shape (K, d)
        Neuron weights theta, on patches normalised to zero mean and unit norm.
    biases, alphas : ndarray, shape (K,)
    betas : ndarray, shape (B,)
    """

    weights: Float
    biases: Float
    alphas: Float
    betas: Float

    def pack(self) -> Float:
        """Return theta, b, log alpha, log beta as one vector."""
        logs = (np.log(self.alphas), np.log(self.betas))
        return np.concatenate([self.weights.reshape(-1), self.biases, *logs])

    @classmethod
    def unpack(cls, vector: Float, n_neurons: int, support: int, n_betas: int) -> CCNFParameters:
        """Return the parameters in a vector made by `pack`."""
        ends = np.cumsum([n_neurons * support, n_neurons, n_neurons, n_betas])
        weights, biases, log_alphas, log_betas = np.split(vector, ends[:-1])
        return cls(weights.reshape(n_neurons, support), biases, np.exp(log_alphas), np.exp(log_betas))


def precision(parameters: CCNFParameters, components: Float) -> Float:
    """Return Lambda, (P, P), for components (B, P, P)."""
    Lambda = 2.0 * np.tensordot(parameters.betas, components, axes=1)
    Lambda[np.diag_indices_from(Lambda)] += 2.0 * parameters.alphas.sum()
    return np.asarray(Lambda)


class CCNF:
    """The penalised log-likelihood of one expert over a set of windows.

    Parameters
    ----------
    patches : sequence of ndarray, shape (N*P, d)
        Normalised patches of every position of every window, one array a kind
        of input (grey values, gradient magnitude). Their dtype, float32 or
        float64, is that of the neurons' matrix products; everything else is float64.
    kinds : ndarray, shape (K,), int
        Which of *patches* each neuron sees; ascending.
    targets : ndarray, shape (N, P)
        Responses wanted.
    weights : ndarray, shape (N,)
        How much each window counts; normalised to sum 1.
    components : ndarray, shape (B, P, P)
        Sigma components.
    penalty : float
        Factor of the squared weights ``|theta|^2 / 2``.
    noise : float
        Standard deviation of white noise that the responses wanted are taken to
        have. The likelihood is its mean over the noise. Without it the exact,
        smooth targets make the field ever smoother and its neurons too few.
    """

    def __init__(
        self,
        patches: Sequence[NDArray[np.floating]],
        kinds: NDArray[np.integer],
        targets: Float,
        weights: Float,
        components: NDArray[np.floating],
        penalty: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        self.patches = patches
        self.targets = np.asarray(targets, dtype=np.float64)
        self.weights = weights / weights.sum()
        self.components = np.asarray(components, dtype=np.float64)
        self.penalty, self.noise = penalty, noise
        self.n_neurons, self.support = len(kinds), patches[0].shape[1]
        self.slices = [slice(*np.searchsorted(kinds, [k, k + 1])) for k in range(len(patches))]
        self._target_moment = (self.targets * self.weights[:, None]).T @ self.targets
        self._target_moment[np.diag_indices_from(self._target_moment)] += noise**2

    def unpack(self, vector: Float) -> CCNFParameters:
        """Return the parameters in a vector."""
        return CCNFParameters.unpack(vector, self.n_neurons, self.support, len(self.components))

    def activations(self, parameters: CCNFParameters) -> NDArray[np.floating]:
        """Return h, (N*P, K), in the dtype of the patches."""
        dtype = self.patches[0].dtype
        h = np.empty((len(self.patches[0]), self.n_neurons), dtype)
        theta, b = parameters.weights.astype(dtype), parameters.biases.astype(dtype)
        for patches, neurons in zip(self.patches, self.slices, strict=True):
            h[:, neurons] = patches @ theta[neurons].T
        h += b
        # The exponential of a large number is inf and its reciprocal 0, as it should be.
        with np.errstate(over="ignore"):
            np.exp(-h, out=h)
        h += 1
        return np.asarray(np.reciprocal(h, out=h))

    def responses(self, parameters: CCNFParameters) -> Float:
        """Return the mean responses ``Lambda^-1 u``, (N, P)."""
        u = self._potentials(self.activations(parameters), parameters)
        factor = cho_factor(precision(parameters, self.components), lower=True)
        return np.asarray(cho_solve(factor, u.T).T)

    def _potentials(self, h: NDArray[np.floating], parameters: CCNFParameters) -> Float:
        u = h @ (2.0 * parameters.alphas).astype(h.dtype)
        return u.reshape(self.targets.shape).astype(np.float64)

    def objective(self, vector: Float) -> tuple[float, Float]:
        """Return the negative penalised mean log-likelihood and its gradient.

        Parameters
        ----------
        vector : ndarray
            theta, b, log alpha, log beta, as `CCNFParameters.pack` makes it.

        Returns
        -------
        value : float
        gradient : ndarray, of the shape of *vector*
        """
        p = self.unpack(vector)
        h = self.activations(p)
        u = self._potentials(h, p)
        n_positions = u.shape[1]
        factor = cho_factor(precision(p, self.components), lower=True)
        covariance = cho_solve(factor, np.eye(n_positions))
        mu = u @ covariance
        residual = self.targets - mu
        weighted = residual * self.weights[:, None]
        # -(y - mu)' Lambda (y - mu) / 2 + log det Lambda / 2, summed over the windows by weight.
        residual_moment = weighted.T @ residual
        residual_moment[np.diag_indices(n_positions)] += self.noise**2
        Lambda = precision(p, self.components)
        value = -0.5 * np.vdot(Lambda, residual_moment) + np.log(np.diag(factor[0])).sum()
        value -= 0.5 * n_positions * np.log(2 * np.pi)
        # d/dLambda at fixed u.
        mu_moment = (mu * self.weights[:, None]).T @ mu
        d_precision = 0.5 * (mu_moment - self._target_moment + covariance)
        d_response = weighted.reshape(-1).astype(h.dtype)
        d_alphas = 2.0 * (d_response @ h).astype(np.float64) + 2.0 * np.trace(d_precision)
        d_betas = 2.0 * np.tensordot(self.components, d_precision, axes=2)
        slope = h * (1 - h) * d_response[:, None]
        slope *= (2.0 * p.alphas).astype(h.dtype)
        d_weights = np.empty_like(p.weights)
        for patches, neurons in zip(self.patches, self.slices, strict=True):
            d_weights[neurons] = slope[:, neurons].T @ patches
        d_biases = slope.sum(axis=0, dtype=np.float64)
        value -= 0.5 * self.penalty * np.vdot(p.weights, p.weights)
        d_weights -= self.penalty * p.weights
        gradient = np.concatenate([d_weights.reshape(-1), d_biases, d_alphas * p.alphas, d_betas * p.betas])
        return -float(value), -gradient


def log_likelihood(model: CCNF, parameters: CCNFParameters) -> float:
    """Return the mean log-likelihood of the windows of *model*, without the penalty."""
    residual = model.targets - model.responses(parameters)
    Lambda = precision(parameters, model.components)
    factor, _ = cho_factor(Lambda, lower=True)
    moment = (residual * model.weights[:, None]).T @ residual
    moment[np.diag_indices_from(moment)] += model.noise**2
    constant = 0.5 * residual.shape[1] * np.log(2 * np.pi)
    return float(-0.5 * np.vdot(Lambda, moment) + np.log(np.diag(factor)).sum() - constant)
