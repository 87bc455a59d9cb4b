"""CCNF patch experts: from an image and a shape to one response map a landmark.

Source: Baltrusaitis, Robinson, Morency, "Constrained Local Neural Fields for
robust facial landmark detection in the wild", ICCV Workshops 2013, section 3.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf._limits import (
    MAX_NEURONS,
    MAX_NUMBER,
    MAX_PATCH_SCALE,
    MAX_SIGMA_BYTES,
    MAX_SIGMA_COMPONENTS,
    MAX_SUPPORT,
    MAX_VIEW_BYTES,
    MAX_VIEWS,
    MAX_WINDOW,
)
from pyclnf.errors import ImageError, ModelError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    # Pairs of grey values, and the bounds of the part.
    KeptGrey = tuple[NDArray[np.uint16], NDArray[np.int32]]

__all__ = ["DEPTH", "GRADIENT", "GREY", "PatchScale", "ViewExperts", "procrustes_similarity"]

procrustes_similarity = _kernels.alignment.procrustes_similarity

# Neuron types, as the CCNF files number them, and the plane of the areas that each works on.
GREY, GRADIENT, DEPTH = 0, 1, 3
PLANES = {GREY: 0, GRADIENT: 1, DEPTH: 2}

# Neurons whose alpha is not above this contribute nothing and are skipped.
MIN_ALPHA = 1e-4

# The kernels work on blocks of this many neurons.
BLOCK = 8

# In place of Sigmas and of their maps where there are none, or whole matrices.
_NO_SIGMAS, _NO_MAPS = np.empty((0, 0), np.float32), np.empty((0, 0, 0), np.float32)

# A part of an image of so many pixels is kept as grey values for the next scale, or start: a face of 2 px/mm.
KEPT_PIXELS = 1 << 18

# Sigma matrices kept by one patch scale, bytes: all seven views of the largest usual window
# (15: 3.6 MB a view); more are computed again.
KEPT_SIGMA_BYTES = 32_000_000


def room_for_grey(image: NDArray[Any]) -> KeptGrey:
    """Return where the kernels may keep a part of an image as grey values, see the kernel `response_maps`."""
    room = min(KEPT_PIXELS, image.shape[0] * image.shape[1]) if image.dtype == np.uint8 else 0
    return np.empty(room, np.uint16), np.zeros(4, np.int32)


# Without room: of any image.
NOTHING_KEPT: KeptGrey = (np.empty(0, np.uint16), np.zeros(4, np.int32))


@dataclass(frozen=True, eq=False)
class ViewExperts:
    """The experts of all visible landmarks in one view of one scale.

    Experts with fewer neurons than the largest are padded with alpha = 0.

    Attributes
    ----------
    landmarks : ndarray, shape (v,), int32
        Ascending indices of the landmarks that have an expert in this view.
    types : ndarray, shape (v, K), int32
        Neuron types: 0 grey value, 1 Sobel gradient magnitude, 3 depth.
    weights : ndarray, shape (v, K, h, w), float32
    norm_weights, biases, alphas : ndarray, shape (v, K), float64
    betas : ndarray, shape (v, B), float64
        Weights of the sigma components.
    confidences : ndarray, shape (v,), float64
    """

    landmarks: NDArray[np.int32]
    types: NDArray[np.int32]
    weights: NDArray[np.float32]
    norm_weights: NDArray[np.float64]
    biases: NDArray[np.float64]
    alphas: NDArray[np.float64]
    betas: NDArray[np.float64]
    confidences: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Blocks:
    """The neurons of a view as the kernel reads them: blocks of eight, the neuron last."""

    n_planes: int
    planes: NDArray[np.int32]
    weights: NDArray[np.float32]
    weight_sums: NDArray[np.float32]
    norm_weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    alphas: NDArray[np.float32]

    @property
    def arguments(self) -> tuple[NDArray[Any], ...]:
        """As the kernels take them one after the other."""
        return self.planes, self.weights, self.weight_sums, self.norm_weights, self.biases, self.alphas


def _arrange(experts: ViewExperts) -> _Blocks:
    """Group each expert's neurons into blocks of eight, of one type or half grey, half gradient."""
    v, _, rows, columns = experts.weights.shape
    lanes = np.arange(BLOCK)
    arranged: list[list[tuple[int, NDArray[np.intp], NDArray[np.intp]]]] = []
    for k in range(v):
        blocks, rest = [], {}
        for neuron_type, plane in PLANES.items():
            used = np.flatnonzero((experts.types[k] == neuron_type) & (experts.alphas[k] > MIN_ALPHA))
            blocks += [(plane, used[i : i + BLOCK], lanes) for i in range(0, used.size, BLOCK)]
            rest[neuron_type] = used.size % BLOCK
        if 0 < rest[GREY] <= BLOCK // 2 and 0 < rest[GRADIENT] <= BLOCK // 2:
            # What is left of both types fits into one block, whose lanes they share by turns.
            last = {plane: i for i, (plane, *_) in enumerate(blocks)}
            gradient = blocks.pop(last[PLANES[GRADIENT]])[1]
            grey = blocks.pop(last[PLANES[GREY]])[1]
            places = np.concatenate([lanes[0 : 2 * grey.size : 2], lanes[1 : 2 * gradient.size : 2]])
            blocks.append((_kernels.layout.PAIR, np.concatenate([grey, gradient]), places))
        arranged.append(blocks)
    count = max(1, max(len(blocks) for blocks in arranged))
    planes = np.full((v, count), -1, np.int32)
    weights = np.zeros((v, count, rows, columns, BLOCK), np.float32)
    norm_weights, biases, alphas = np.zeros((3, v, count, BLOCK), np.float32)
    for k, blocks in enumerate(arranged):
        for b, (plane, used, places) in enumerate(blocks):
            places = places[: used.size]
            planes[k, b] = plane
            weights[k, b][..., places] = np.moveaxis(experts.weights[k, used], 0, 2)
            norm_weights[k, b, places] = experts.norm_weights[k, used]
            biases[k, b, places] = experts.biases[k, used]
            alphas[k, b, places] = experts.alphas[k, used]
    used_types = experts.types[experts.alphas > MIN_ALPHA]
    n_planes = 1 + max((PLANES[int(t)] for t in np.unique(used_types)), default=0)
    weight_sums = weights.sum(axis=(2, 3), dtype=np.float64).astype(np.float32)
    return _Blocks(n_planes, planes, weights, weight_sums, norm_weights, biases, alphas)


@dataclass(frozen=True, eq=False)
class _Sigma:
    """Sigma of each expert of a view: whole matrices (v, w*w, w*w), or folded into blocks (v, d)."""

    values: NDArray[np.float32]
    folded: bool


def _fold(maps: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the blocks of matrices between maps (B, w, w, w, w) in the basis of the maps' reflections."""
    window = maps.shape[1]
    Q = _kernels.layout.reflection_basis(window)
    for _ in range(4):
        # Each turn changes the basis of the last axis and brings the next one there.
        maps = np.moveaxis(maps @ Q.T, -1, 1)
    matrices = maps.reshape(len(maps), window**2, window**2)
    return [matrices[:, indices[:, None], indices] for indices, _ in _kernels.layout.folded_blocks(window)]


class PatchScale:
    """All experts of one patch scale. Safe to share between threads; picklable.

    Parameters
    ----------
    scale : float
        Patch scale, px per mm.
    centres : ndarray, shape (V, 3), float64
        Euler angles of the views' centres, radians.
    visible : ndarray, shape (V, n), bool
        Landmarks with an expert, by view.
    sigma_components : mapping of int to ndarray, shape (B, w*w, w*w), float32
        By window side w.
    views : sequence of V ViewExperts, or a function of the view's index that loads one
        A function is called once a view, when that view is first needed.
    source : str
        Where the experts come from, named in errors about views that are loaded later.

    Raises
    ------
    ModelError
        If the parts do not fit together or hold values that are not finite.
    """

    def __init__(
        self,
        scale: float,
        centres: NDArray[np.float64],
        visible: NDArray[np.bool_],
        sigma_components: Mapping[int, NDArray[np.float32]],
        views: Sequence[ViewExperts] | Callable[[int], ViewExperts],
        source: str = "",
    ) -> None:
        self.source = source
        self.scale = float(scale)
        self.centres = np.asarray(centres, dtype=np.float64)
        self._centres = self.centres.tolist()
        self.visible = np.asarray(visible, dtype=bool)
        self.sigma_components = sigma_components
        if not 0 < self.scale <= MAX_PATCH_SCALE:
            raise ModelError(
                f"a patch scale is a positive number of px per mm, at most {MAX_PATCH_SCALE:g}, not {scale!r}"
            )
        if self.centres.ndim != 2 or self.centres.shape[1] != 3 or not len(self.centres):
            raise ModelError(f"view centres are three angles a view, not an array {self.centres.shape}")
        if len(self.centres) > MAX_VIEWS:
            raise ModelError(
                f"{len(self.centres)} views of patch scale {scale:g}: at most {MAX_VIEWS} are taken"
            )
        if not np.isfinite(self.centres).all():
            raise ModelError("the view centres hold values that are not finite")
        if self.visible.ndim != 2 or len(self.visible) != len(self.centres):
            raise ModelError(
                f"visibility is one row for each of the {len(self.centres)} views, not {self.visible.shape}"
            )
        if not self.visible.any(axis=1).all():
            raise ModelError("a view sees no landmark at all")
        self._check_components()
        self._load = views if callable(views) else None
        self._views: list[ViewExperts | None] = [None] * self.n_views
        self._blocks: dict[tuple[int, bool], _Blocks] = {}
        self._sigmas: OrderedDict[tuple[int, int], _Sigma] = OrderedDict()
        self._folded: dict[int, list[NDArray[np.float64]] | None] = {}
        self._thinned: dict[int, PatchScale] = {}
        self._lock = threading.RLock()
        if not callable(views):
            if len(views) != self.n_views:
                raise ModelError(f"{len(views)} views of experts for {self.n_views} view centres")
            self._views = [self._checked(i, experts) for i, experts in enumerate(views)]

    def _check_components(self) -> None:
        for window, components in self.sigma_components.items():
            if not 1 <= window <= MAX_WINDOW or len(components) > MAX_SIGMA_COMPONENTS:
                raise ModelError(
                    f"{len(components)} sigma components for the window {window}: at most "
                    f"{MAX_SIGMA_COMPONENTS} for windows up to {MAX_WINDOW} are taken"
                )
            if components.shape[1:] != (window**2, window**2):
                raise ModelError(
                    f"the sigma components of the window {window} have side {window**2}, "
                    f"not {components.shape}"
                )
            # Also true for NaN.
            if not np.abs(components).max(initial=0) <= MAX_NUMBER:
                raise ModelError(
                    f"the sigma components of the window {window} hold values beyond {MAX_NUMBER:g}"
                )
            size = int(self.visible.sum(axis=1).max()) * window**4 * 8
            if len(components) and size > MAX_SIGMA_BYTES:
                raise ModelError(
                    f"the Sigmas of a view for the window {window} need {size} bytes, at most "
                    f"{MAX_SIGMA_BYTES} are taken: leave out this window or landmarks"
                )

    @property
    def n_views(self) -> int:
        """Number of views, V."""
        return len(self.centres)

    @property
    def n_landmarks(self) -> int:
        """Number of landmarks, n."""
        return int(self.visible.shape[1])

    @property
    def n_experts(self) -> int:
        """Number of experts in all views."""
        return int(self.visible.sum())

    def __repr__(self) -> str:
        return f"PatchScale(scale={self.scale:g}, n_views={self.n_views}, n_experts={self.n_experts})"

    def __getstate__(self) -> dict[str, Any]:
        # A loader may hold an open file and a lock cannot travel: the content does.
        return {
            "scale": self.scale,
            "centres": self.centres,
            "visible": self.visible,
            "sigma_components": dict(self.sigma_components),
            "views": [self.view(i) for i in range(self.n_views)],
            "source": self.source,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def view(self, index: int) -> ViewExperts:
        """Return the experts of one view, loading them if need be.

        Parameters
        ----------
        index : int

        Returns
        -------
        ViewExperts
        """
        experts = self._views[index]
        if experts is None:
            with self._lock:
                experts = self._views[index]
                if experts is None:
                    assert self._load is not None
                    experts = self._views[index] = self._checked(index, self._load(index))
        return experts

    def _checked(self, index: int, experts: ViewExperts) -> ViewExperts:
        """Return the experts, or raise ModelError if they do not fit this scale."""
        where = f"{self.source + ': ' if self.source else ''}view {index} of patch scale {self.scale:g}"
        landmarks = np.flatnonzero(self.visible[index])
        if not np.array_equal(experts.landmarks, landmarks):
            raise ModelError(f"{where}: the experts are not those of the visible landmarks")
        shape = experts.types.shape
        if len(shape) != 2 or shape[0] != landmarks.size or experts.weights.shape[:2] != shape:
            raise ModelError(f"{where}: {landmarks.size} experts, but neurons of shape {shape}")
        if experts.weights.ndim != 4 or 0 in experts.weights.shape[2:]:
            raise ModelError(f"{where}: a neuron's weights are a matrix, not {experts.weights.shape[2:]}")
        if shape[1] > MAX_NEURONS or max(experts.weights.shape[2:]) > MAX_SUPPORT:
            raise ModelError(
                f"{where}: {shape[1]} neurons of {experts.weights.shape[2:]} px: at most {MAX_NEURONS} of "
                f"{MAX_SUPPORT} px are taken"
            )
        if experts.weights.size * 4 > MAX_VIEW_BYTES:
            raise ModelError(
                f"{where}: the neurons have {experts.weights.size * 4} bytes, at most {MAX_VIEW_BYTES} are "
                "taken"
            )
        if not np.isin(experts.types, list(PLANES)).all():
            raise ModelError(f"{where}: neuron types are {sorted(PLANES)}, not {np.unique(experts.types)}")
        for name in ("norm_weights", "biases", "alphas"):
            if getattr(experts, name).shape != shape:
                raise ModelError(f"{where}: {name} must have shape {shape}")
        components = {len(matrices) for matrices in self.sigma_components.values()}
        if experts.betas.ndim != 2 or len(experts.betas) != landmarks.size:
            raise ModelError(f"{where}: one row of betas for each of the {landmarks.size} experts")
        if experts.betas.shape[1] and components - {experts.betas.shape[1]}:
            raise ModelError(f"{where}: {experts.betas.shape[1]} betas for {components} sigma components")
        if experts.confidences.shape != (landmarks.size,):
            raise ModelError(f"{where}: one confidence for each of the {landmarks.size} experts")
        for name in ("weights", "norm_weights", "biases", "alphas", "betas", "confidences"):
            if not np.isfinite(getattr(experts, name)).all():
                raise ModelError(f"{where}: the {name} hold values that are not finite")
            if np.abs(getattr(experts, name)).max(initial=0) > MAX_NUMBER:
                raise ModelError(f"{where}: the {name} hold values beyond {MAX_NUMBER:g}")
        if (experts.alphas.sum(axis=1) <= 0).any():
            raise ModelError(f"{where}: an expert's alphas must add up to more than 0")
        return experts

    def thinned(self, step: int) -> PatchScale:
        """Return the scale with fewer landmarks; it is made once, and its views when they are needed.

        Parameters
        ----------
        step : int
            Of each view's landmarks the first stays, and every so-manieth after it.

        Returns
        -------
        PatchScale
        """
        thinned = self._thinned.get(step)
        if thinned is None:
            visible = np.zeros_like(self.visible)
            for row, own in zip(visible, self.visible, strict=True):
                row[np.flatnonzero(own)[::step]] = True

            def load(view: int) -> ViewExperts:
                own = self.view(view)
                parts = {f.name: getattr(own, f.name)[::step].copy() for f in fields(ViewExperts)}
                return ViewExperts(**parts)

            thinned = self._thinned[step] = PatchScale(
                self.scale, self.centres, visible, self.sigma_components, load, self.source
            )
        return thinned

    def nearest_view(self, euler: ArrayLike) -> int:
        """Return the index of the view whose centre is nearest to an orientation.

        Parameters
        ----------
        euler : array_like, shape (3,)
            (rx, ry, rz), radians.
        """
        # In plain numbers: a few views take NumPy longer.
        rx, ry, rz = np.asarray(euler, dtype=np.float64).tolist()
        distances = [
            (x - rx) * (x - rx) + (y - ry) * (y - ry) + (z - rz) * (z - rz) for x, y, z in self._centres
        ]
        return distances.index(min(distances))

    def support(self, view: int) -> tuple[int, int]:
        """Return the height and width of the experts' patches, px."""
        rows, columns = self.view(view).weights.shape[2:]
        return rows, columns

    def sigma(self, view: int, window: int) -> NDArray[np.float32] | None:
        """Return Sigma of each expert of a view.

        ``Sigma^-1 = 2 (sum_k alpha_k I + sum_b beta_b S_b)``

        Parameters
        ----------
        view : int
        window : int
            Side w of the response maps.

        Returns
        -------
        ndarray, shape (v, w*w, w*w), float32, or None
            None if the model has no components for this window; Sigma is then
            ``I / (2 sum_k alpha_k)``.

        Raises
        ------
        ModelError
            If a Sigma does not exist (its inverse is singular).
        """
        experts = self.view(view)
        components = self.sigma_components.get(window)
        if components is None or experts.betas.shape[1] == 0:
            return None
        return self._invert(experts, components.astype(np.float64), window).astype(np.float32)

    def _kept_sigma(self, view: int, window: int) -> _Sigma | None:
        """Return Sigma of each expert of a view as the kernels read it, computed once and kept."""
        experts = self.view(view)
        if window not in self.sigma_components or experts.betas.shape[1] == 0:
            return None
        with self._lock:
            sigma = self._sigmas.get((view, window))
            if sigma is None:
                sigma = self._sigmas[view, window] = self._compute_sigma(experts, window)
                kept = self._sigmas.values()
                while len(kept) > 1 and sum(s.values.nbytes for s in kept) > KEPT_SIGMA_BYTES:
                    self._sigmas.popitem(last=False)
            else:
                self._sigmas.move_to_end((view, window))
        return sigma

    def _compute_sigma(self, experts: ViewExperts, window: int) -> _Sigma:
        blocks = self._folded_components(window)
        if blocks is None:
            sigma = self._invert(experts, self.sigma_components[window].astype(np.float64), window)
            return _Sigma(sigma.astype(np.float32), folded=False)
        inverses = []
        for components, (indices, stride) in zip(blocks, _kernels.layout.folded_blocks(window), strict=True):
            rows = np.zeros((len(experts.betas), indices.size, stride), np.float32)
            rows[:, :, : indices.size] = self._invert(experts, components, window)
            inverses.append(rows.reshape(len(rows), -1))
        return _Sigma(np.concatenate(inverses, axis=1), folded=True)

    def _folded_components(self, window: int) -> list[NDArray[np.float64]] | None:
        """Return the four blocks of each component, or None if a component is not the same mirrored."""
        if window not in self._folded:
            maps = self.sigma_components[window].reshape(-1, *[window] * 4)
            symmetric = np.array_equal(maps, maps[:, ::-1, :, ::-1]) and np.array_equal(
                maps, maps[:, :, ::-1, :, ::-1]
            )
            self._folded[window] = _fold(maps.astype(np.float64)) if symmetric else None
        return self._folded[window]

    def _invert(
        self, experts: ViewExperts, components: NDArray[np.float64], window: int
    ) -> NDArray[np.float64]:
        """Return the inverse of ``2 (sum_k alpha_k I + sum_b beta_b S_b)`` of each expert."""
        inverses = 2 * np.tensordot(experts.betas, components, axes=1)
        size = components.shape[1]
        inverses[:, np.arange(size), np.arange(size)] += 2 * experts.alphas.sum(axis=1)[:, None]
        try:
            return np.asarray(np.linalg.inv(inverses), np.float64)
        except np.linalg.LinAlgError as error:
            singular = experts.landmarks[np.argmin(np.linalg.matrix_rank(inverses, hermitian=True))]
            raise ModelError(
                f"landmark {singular} of patch scale {self.scale:g} has no Sigma for window side {window}: "
                "its inverse is singular"
            ) from error

    def kernel_arguments(self, view: int, window: int) -> tuple[int, tuple[NDArray[Any], ...]] | None:
        """Return how many planes the kernel `fit_scale` needs, and the experts of a view as it takes them.

        None if it cannot compute their responses: with neurons that work on depth, and where Sigma is not to
        be had in parts.
        """
        rows, columns = self.support(view)
        sigma = self._kept_sigma(view, window)
        blocks = self._arranged(view, smooth=sigma is not None)
        if (sigma is not None and not sigma.folded) or blocks.n_planes > 2 or rows != columns:
            return None
        return blocks.n_planes, (*blocks.arguments, _NO_SIGMAS if sigma is None else sigma.values)

    def responses(
        self,
        view: int,
        window: int,
        image: NDArray[Any],
        matrices: NDArray[np.float64],
        depth: NDArray[Any] | None = None,
        grey: KeptGrey = NOTHING_KEPT,
    ) -> NDArray[np.float32]:
        """Return the response map of each landmark of a view.

        Parameters
        ----------
        view : int
        window : int
            Side w of the maps, px of the patch scale.
        image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
            Grey or BGR.
        matrices : ndarray, shape (v, 2, 3), float64
            Maps from the areas of interest to the image, see the kernel `place_areas`.
        depth : ndarray, shape (H, W, 1), float32 or float64, optional
            Needed by neurons of type 3.
        grey : tuple of ndarray
            `room_for_grey` of the same image.

        Returns
        -------
        ndarray, shape (v, w, w), float32
            Not negative; row y, column x.

        Raises
        ------
        ImageError
            If the image holds values that are not finite, or depth is needed and not given.
        """
        experts = self.view(view)
        sigma = self._kept_sigma(view, window)
        if (
            matrices.shape != (experts.landmarks.size, 2, 3)
            or image.ndim != 3
            or image.shape[2] not in (1, 3)
        ):
            raise ParameterError(
                f"view {view} takes {experts.landmarks.size} matrices (2, 3), and an image (H, W, 1 or 3), "
                f"not {matrices.shape} and {image.shape}"
            )
        blocks = self._arranged(view, smooth=sigma is not None)
        rows, columns = experts.weights.shape[2:]
        if rows != columns:
            raise ModelError(
                f"patch scale {self.scale:g}: the support must be square, not {rows} x {columns}"
            )
        side, v = window + rows - 1, experts.landmarks.size
        planes = np.empty((blocks.n_planes, v, side, side), np.float32)
        if len(planes) > 2:
            if depth is None:
                raise ImageError("this model has neurons that work on depth: give depth=")
            _kernels.sample_areas(depth, matrices, planes[2])
        sums = np.empty((v, window, window), np.float32)
        folded = sigma is not None and sigma.folded
        maps = np.empty_like(sums) if folded else _NO_MAPS
        _kernels.response_maps(
            image,
            *grey,
            matrices,
            *blocks.arguments,
            sigma.values if sigma is not None and folded else _NO_SIGMAS,
            planes,
            sums,
            maps,
        )
        check_finite(image, planes)
        if folded:
            return maps
        if sigma is None:
            return sums
        maps = np.empty_like(sums)
        _kernels.apply_sigma(sigma.values, sums.reshape(v, -1), maps.reshape(v, -1))
        return maps

    def _arranged(self, view: int, *, smooth: bool) -> _Blocks:
        """Return the neurons of a view as the kernels read them.

        Those whose sums are not smoothed have Sigma in their alphas: without components it is diagonal,
        ``I / (2 sum_k alpha_k)``, and the sums are not negative.
        """
        blocks = self._blocks.get((view, smooth))
        if blocks is None:
            # Computed twice at worst, with the same result: no lock is needed.
            experts = self.view(view)
            if smooth:
                blocks = _arrange(experts)
            else:
                blocks, totals = self._arranged(view, smooth=True), 2 * experts.alphas.sum(axis=1)
                blocks = replace(blocks, alphas=(blocks.alphas / totals[:, None, None]).astype(np.float32))
            self._blocks[view, smooth] = blocks
        return blocks


def check_finite(image: NDArray[Any], planes: NDArray[np.float32]) -> None:
    """Raise ImageError if the areas of an image hold NaN or inf."""
    if image.dtype != np.uint8 and not np.isfinite(planes[0]).all():
        raise ImageError("the image holds values around the face that are not finite: replace NaN and inf")
