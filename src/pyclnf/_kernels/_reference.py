"""The NumPy twin of every compiled kernel: the same names, signatures and results.

To be read, tested against and benchmarked against; the compiled kernels'
docstrings give the shapes. Chosen by ``PYCLNF_KERNELS=reference``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pyclnf._kernels.alignment import procrustes_similarity
from pyclnf._kernels.layout import (
    LEVELS,
    PAIR,
    blocked_size,
    folded_blocks,
    in_levels,
    reflection_basis,
    unblocked,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Float32 = NDArray[np.float32]
    Int = NDArray[np.int32]

FLAT = 1e-9
MIN_SCALE = 1e-6

# See `perspective_pose`: every landmark lies at least so far before the camera, mm.
NEAREST = 1.0
FIXED_ONE, FIXED_HALF, FIXED_LIMIT = 1024, 16, 1e6
# Where a row of a patch may begin, and how far apart its pixels may lie, px.
FURTHEST, LONGEST_STEP = 8192.0, 64.0


def has_avx2() -> bool:
    """Return False: NumPy chooses its instructions by itself."""
    return False


has_avx512 = has_avx2


def sample_areas(image: NDArray[Any], matrices: Float, out: Float32) -> None:
    """Sample square areas of an image through affine maps."""
    side = out.shape[1]

    def fixed(value: Float) -> NDArray[np.int64]:
        bounded = np.clip(np.where(np.isnan(value), -FIXED_LIMIT, value), -FIXED_LIMIT, FIXED_LIMIT)
        return np.asarray(np.rint(bounded * FIXED_ONE), np.int64)

    index = np.arange(side, dtype=np.float64)
    along_row = fixed(matrices[:, :, :1] * index)
    along_column = fixed(matrices[:, :, 1:2] * index + matrices[:, :, 2:]) + FIXED_HALF
    position = (along_row[:, :, None, :] + along_column[:, :, :, None]) >> 5
    x, y = position[:, 0] >> 5, position[:, 1] >> 5
    u = (position[:, 0] & 31).astype(np.float32) / np.float32(32)
    v = (position[:, 1] & 31).astype(np.float32) / np.float32(32)

    out[:] = (
        _grey(image, y, x) * ((1 - v) * (1 - u))
        + _grey(image, y, x + 1) * ((1 - v) * u)
        + _grey(image, y + 1, x) * (v * (1 - u))
        + _grey(image, y + 1, x + 1) * (v * u)
    )


def _grey(image: NDArray[Any], row: NDArray[np.integer], column: NDArray[np.integer]) -> Float32:
    """Return the grey values of pixels; 0 outside the image."""
    height, width, channels = image.shape
    inside = (row >= 0) & (column >= 0) & (row < height) & (column < width)
    pixels = image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    if channels == 1:
        value = pixels[..., 0]
    elif image.dtype == np.uint8:
        value = (pixels[..., :3].astype(np.int32) @ np.array([3735, 19235, 9798], np.int32) + 16384) >> 15
    else:
        value = 0.114 * pixels[..., 0].astype(float) + 0.587 * pixels[..., 1] + 0.299 * pixels[..., 2]
    return np.where(inside, value, 0).astype(np.float32)


def sobel_magnitude(areas: Float32, out: Float32) -> None:
    """Compute the Sobel gradient magnitude of each area."""
    p = np.pad(areas, ((0, 0), (1, 1), (1, 1)), mode="edge")
    difference = p[:, :, 2:] - p[:, :, :-2]
    gx = difference[:, :-2] + 2 * difference[:, 1:-1] + difference[:, 2:]
    difference = p[:, 2:] - p[:, :-2]
    gy = difference[:, :, :-2] + 2 * difference[:, :, 1:-1] + difference[:, :, 2:]
    out[:] = np.sqrt(gx.astype(np.float64) ** 2 + gy.astype(np.float64) ** 2)


def neuron_responses(
    planes: Float32,
    block_planes: Int,
    weights: Float32,
    weight_sums: Float32,
    norm_weights: Float32,
    biases: Float32,
    alphas: Float32,
    out: Float32,
) -> None:
    """Sum the neurons of each expert at each window position."""
    rows, columns = weights.shape[2:4]
    out[:] = 0
    for k, b in np.argwhere(block_planes >= 0):
        pair = block_planes[k, b] == PAIR
        for plane, lanes in (
            ((0, np.s_[0::2]), (1, np.s_[1::2])) if pair else ((block_planes[k, b], np.s_[:]),)
        ):
            area = planes[plane, k].astype(np.float64)
            area = area - area.mean()
            patches = sliding_window_view(area, (rows, columns))
            # Depth is normalised over the whole area, the others by patch.
            within = area[None, None] if plane == 2 else patches
            mean = within.mean(axis=(2, 3))
            squares = (within**2).sum(axis=(2, 3))
            norm = ((within - mean[..., None, None]) ** 2).sum(axis=(2, 3))
            norm = np.sqrt(np.where(norm > FLAT * squares, norm, 1.0))
            correlation = np.einsum("ijyx,yxk->ijk", patches, weights[k, b, ..., lanes].astype(np.float64))
            c = (correlation - mean[..., None] * weight_sums[k, b, lanes]) / norm[..., None]
            with np.errstate(over="ignore"):
                sigmoid = 1 / (1 + np.exp(-(norm_weights[k, b, lanes] * c + biases[k, b, lanes])))
            out[k] += (2 * alphas[k, b, lanes] * sigmoid).sum(axis=2)


def apply_sigma(sigmas: Float32, u: Float32, out: Float32) -> None:
    """Smooth each expert's neuron sums by its Sigma and lift negative maps to zero."""
    np.matmul(sigmas, u[:, :, None], out=out[:, :, None])
    out -= np.minimum(out.min(axis=1, keepdims=True), 0)


def apply_folded_sigma(sigmas: Float32, u: Float32, out: Float32) -> None:
    """Do the same as `apply_sigma` for Sigmas that commute with the reflections of the map."""
    v, window = u.shape[:2]
    Q = reflection_basis(window)
    folded = (Q @ u.astype(np.float64) @ Q.T).reshape(v, -1)
    smooth = np.empty_like(folded)
    start = 0
    for indices, stride in folded_blocks(window):
        block = sigmas[:, start : start + indices.size * stride].reshape(v, indices.size, stride)
        smooth[:, indices] = np.einsum("kij,kj->ki", block[:, :, : indices.size], folded[:, indices])
        start += indices.size * stride
    out[:] = Q.T @ smooth.reshape(v, window, window) @ Q
    out -= np.minimum(out.min(axis=(1, 2), keepdims=True), 0)


def response_maps(
    image: NDArray[Any],
    grey_pairs: NDArray[np.uint16],
    grey_bounds: Int,
    matrices: Float,
    block_planes: Int,
    weights: Float32,
    weight_sums: Float32,
    norm_weights: Float32,
    biases: Float32,
    alphas: Float32,
    sigmas: Float32,
    planes: Float32,
    sums: Float32,
    out: Float32,
) -> None:
    """Compute the response maps of all landmarks, in one call; nothing is kept."""
    sample_areas(image, matrices, planes[0])
    if len(planes) > 1:
        sobel_magnitude(planes[0], planes[1])
    neuron_responses(planes, block_planes, weights, weight_sums, norm_weights, biases, alphas, sums)
    if len(out):
        apply_folded_sigma(sigmas, sums, out)


def weigh_maps(responses: Float32, power: int, floor: float, weights: Float) -> None:
    """Multiply weights by a power of the highest response in each map, relative to the others'."""
    peaks = responses.max(axis=(1, 2)).astype(np.float64) + floor
    relative = peaks.copy()
    for _ in range(power - 1):
        relative *= peaks
    weights *= relative / relative.mean()


def mean_shift(responses: Float32, offsets: Float, kernel: Float, out: Float) -> None:
    """Compute the mean shift of each landmark over its response map."""
    window = responses.shape[1]
    d = np.clip(np.where(np.isnan(offsets), 0.0, offsets), 0.0, window - 0.1)
    gx, gy = np.moveaxis(kernel[(d * 10 + 0.5).astype(np.intp)], 1, 0)
    weighted = responses * gx[:, None, :] * gy[:, :, None]
    total = weighted.sum(axis=(1, 2))
    index = np.arange(window, dtype=np.float64)
    first = np.stack([weighted.sum(axis=1) @ index, weighted.sum(axis=2) @ index], axis=1)
    mass = (total > 0)[:, None]
    out[:] = np.where(mass, first / np.where(mass, total[:, None], 1.0) - d, 0.0)


def likelihoods(
    responses: Float32, offsets: Float, sigma: float, visible: Int, every: Float, out: Float
) -> None:
    """Compute each landmark's kernel density at its exact position."""
    index = np.arange(responses.shape[1], dtype=np.float64)
    g = np.exp(-0.5 / sigma**2 * (index - offsets[:, :, None]) ** 2)
    out[:] = np.einsum("kyx,kx,ky->k", responses.astype(np.float64), g[:, 0], g[:, 1])
    every[:] = np.nan
    every[visible] = out


def jacobian(shape_3d: Float, rotation: Float, scale: float, components: Float, out: Float) -> None:
    """Compute the derivative of the image landmarks by pose and shape."""
    n, modes = shape_3d.shape[0], out.shape[1] - 6
    X, Y, Z = shape_3d.T
    V = components.reshape(3, n, components.shape[1])[:, :, :modes]
    for axis in range(2):
        r = rotation[axis]
        rows = out[axis::2]
        rows[:, 0] = shape_3d @ r
        rows[:, 1] = scale * (Y * r[2] - Z * r[1])
        rows[:, 2] = -scale * (X * r[2] - Z * r[0])
        rows[:, 3] = scale * (X * r[1] - Y * r[0])
        rows[:, 4] = axis == 0
        rows[:, 5] = axis == 1
        rows[:, 6:] = scale * np.tensordot(r, V, axes=1)


def normal_equations(J: Float, weights: Float, out: Float) -> None:
    """Compute ``J' diag(weights) J``."""
    np.matmul(J.T, J * weights[:, None], out=out)


def solve(H: Float, g: Float, out: Float) -> bool:
    """Solve ``H x = g`` for a symmetric positive definite H, of which the upper triangle is read."""
    symmetric = np.triu(H) + np.triu(H, 1).T
    if not np.isfinite(symmetric).all():
        return False
    try:
        L = np.linalg.cholesky(symmetric)
    except np.linalg.LinAlgError:
        return False
    out[:] = np.linalg.solve(L.T, np.linalg.solve(L, g))
    return True


def _euler_to_matrix(euler: Float) -> Float:
    cx, cy, cz = np.cos(euler)
    sx, sy, sz = np.sin(euler)
    Rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    Ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    Rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(Rx @ Ry @ Rz)


def _rotate(euler: Float, w: Float) -> Float:
    """Return the angles of R times the orthonormal factor of I + [w]x."""
    small = np.array([[1, -w[2], w[1]], [w[2], 1, -w[0]], [-w[1], w[0], 1]])
    if not np.isfinite(small).all():
        return np.zeros(3)
    U, _, Vt = np.linalg.svd(small)
    R = _euler_to_matrix(euler) @ (U @ Vt)
    cy = np.hypot(R[0, 0], R[0, 1])
    ry = np.arctan2(R[0, 2], cy)
    if cy < 1e-12:
        return np.array([np.arctan2(R[2, 1], R[1, 1]), ry, 0.0])
    return np.array([np.arctan2(-R[1, 2], R[2, 2]), ry, np.arctan2(-R[0, 1], R[0, 0])])


def nu_rlms_pass(
    mean: Float,
    components: Float,
    regularisation: Float,
    limits: Float,
    pose: Float,
    shape: Float,
    base: Float,
    visible: Int,
    responses: Float32,
    to_reference: Float,
    to_image: Float,
    kernel: Float,
    weights: Float,
    rigid: bool,
    max_iterations: int,
    tolerance: float,
    offsets: Float,
) -> tuple[int, bool]:
    """Run the iterations of one NU-RLMS pass."""
    n, modes = base.shape[0], 0 if rigid else shape.size
    p = 6 + modes
    padded = -(-p // 4) * 4
    J_all = np.empty((2 * n, p))
    J = np.zeros((2 * visible.size, padded))
    H = np.empty((padded, padded))
    step = np.empty(p)
    shifts = np.empty((visible.size, 2))
    rows = (2 * visible[:, None] + [0, 1]).reshape(-1)
    previous: Float | None = None
    for iteration in range(max_iterations):
        R = _euler_to_matrix(pose[1:4])
        points = np.ascontiguousarray((mean + components @ shape).reshape(3, n).T)
        current = pose[0] * points @ R[:2].T + pose[4:6]
        if previous is not None and np.sqrt(((current - previous) ** 2).sum()) < tolerance:
            return iteration, True
        previous = current
        offsets[:] = (current - base)[visible] @ to_reference.T + (responses.shape[1] - 1) / 2
        mean_shift(responses, offsets, kernel, shifts)
        jacobian(points, R, pose[0], components, J_all)
        J[:, :p] = J_all[rows]
        normal_equations(J, np.repeat(weights, 2), H)
        g = J[:, :p].T @ ((shifts @ to_image.T) * weights[:, None]).reshape(-1)
        system = H[:p, :p].copy()
        if not rigid:
            system[np.arange(6, p), np.arange(6, p)] += regularisation
            g[6:] -= regularisation * shape
        if not solve(system, g, step):
            return iteration, False
        pose[[0, 4, 5]] += step[[0, 4, 5]]
        pose[1:4] = _rotate(pose[1:4], step[1:4])
        if not rigid:
            shape[:] = np.clip(shape + step[6:], -limits, limits)
    return max_iterations, False


def axis_taps(
    edges: Float, step: float, size: int, sampled: bool, taps: NDArray[np.int32], weights: Float32
) -> None:
    """Find the pixels along one axis of an image that each pixel of a grid is the average of."""
    count = taps.shape[1]
    if sampled:
        index = np.floor(edges[:, None] + step * (np.arange(count) + 0.5) / count)
        shares = np.full(index.shape, 1 / count)
    elif step < 1:
        middles = edges + step / 2 - 0.5
        index = np.floor(middles)[:, None] + np.arange(count)
        shares = 1 - np.abs(middles[:, None] - index)
    else:
        index = np.floor(edges)[:, None] + np.arange(count)
        overlap = np.minimum(edges[:, None] + step, index + 1) - np.maximum(edges[:, None], index)
        shares = np.clip(overlap, 0, None) / step
    weights[:] = shares
    taps[:] = np.clip(index, 0, size - 1)


def average_areas(
    image: NDArray[Any],
    row_taps: Int,
    row_weights: Float32,
    column_taps: Int,
    column_weights: Float32,
    out: NDArray[Any],
) -> None:
    """Average grey values over the areas of a grid, one axis after the other."""
    rows, row_at = np.unique(row_taps, return_inverse=True)
    columns, column_at = np.unique(column_taps, return_inverse=True)
    grey = _grey(image, rows[:, None], columns)
    lines = (grey[row_at.reshape(row_taps.shape)] * row_weights[:, :, None]).sum(axis=1)
    averages = (lines[:, column_at.reshape(column_taps.shape)] * column_weights).sum(axis=2)
    out[:] = np.floor(averages + np.float32(0.5)) if out.dtype == np.uint8 else averages


def cut_square(
    image: NDArray[Any], left: float, top: float, step: float, taps: int, sampled: bool, out: NDArray[Any]
) -> None:
    """Cut a square out of an image and reduce it."""
    side = len(out)
    places, weights = np.empty((2, side, taps), np.int32), np.empty((2, side, taps), np.float32)
    for axis, origin in enumerate((top, left)):
        edges: Float = origin + step * np.arange(side, dtype=np.float64)
        axis_taps(edges, step, image.shape[axis], sampled, places[axis], weights[axis])
    average_areas(image, places[0], weights[0], places[1], weights[1], out)


def mirror_image(image: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Copy an image and its mirror image."""
    out[:] = image, image[:, ::-1]


def mirror_faces(last: float, signs: Float, rotations: Float, placements: Float, shapes: Float) -> None:
    """Turn faces into those of the mirror image, in place."""
    # What turns around where x becomes -x before and after.
    rotations *= [[1, -1, -1], [-1, 1, 1], [-1, 1, 1]]
    placements[:, 1] = last - placements[:, 1]
    shapes *= signs


def mix_faces(
    other_rotations: Float,
    other_placements: Float,
    other_shapes: Float,
    radius: float,
    share: float,
    reach: float,
    apart: Float,
    rotations: Float,
    placements: Float,
    shapes: Float,
) -> None:
    """Move faces towards others, less the further they lie apart."""
    for guess, (rotation, other) in enumerate(zip(rotations, other_rotations, strict=True)):
        turn, placement = _turn_of(rotation.T @ other), placements[guess]
        other_placement = other_placements[guess]
        scales = np.array([placement[0], other_placement[0]])
        if not (np.isfinite(scales) & (scales > 0)).all():
            apart[guess] = np.inf
            continue
        shift, growth = other_placement[1:] - placement[1:], np.log(scales[1] / scales[0])
        apart[guess] = np.hypot(*shift) / scales[0] + radius * (np.sqrt(turn @ turn) + abs(growth))
        own = share * (1 - apart[guess] / reach)
        if own > 0:
            rotation[:] = rotation @ _axis_angle_to_matrix(own * turn)
            placement[0] *= np.exp(own * growth)
            placement[1:] += own * shift
            shapes[guess] += own * (other_shapes[guess] - shapes[guess])


def _turn_of(rotation: Float) -> Float:
    """Return the axis times the angle, in [0, pi], of a rotation."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    products = np.array(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, d + b, c + g],
            [c - g, d + b, 1 - a + e - i, h + f],
            [d - b, c + g, h + f, 1 - a - e + i],
        ]
    )
    # The quaternion, of any length, from its largest component.
    w, *axis = products[np.diag(products).argmax()]
    sine = np.linalg.norm(axis)
    factor = 2 * np.arctan2(sine, abs(w)) / sine if sine else 0.0
    return np.array(axis) * (factor if w >= 0 else -factor)


def run_cascade(
    crop: NDArray[np.uint8],
    mean: Float,
    modes: Float,
    limits: Float,
    landmarks: NDArray[np.uint8],
    offsets: Float32,
    splits: NDArray[np.uint16],
    thresholds: Float32,
    leaves: NDArray[np.int8],
    units: Float32,
    contrast: float,
    rotations: Float,
    placements: Float,
    shapes: Float,
) -> None:
    """Run a cascade of regression trees on differences of pixels that move with the shape."""
    last = len(crop) - 1
    trees = np.arange(splits.shape[1])
    for guess, stage in np.ndindex(len(placements), len(landmarks)):
        rotation, placement, shape = rotations[guess], placements[guess], shapes[guess]
        scale = placement[0]
        points = (mean + shape @ modes).reshape(3, -1).T @ rotation[:2].T * scale + placement[1:]
        upright = _upright(rotation)
        at = points[landmarks[stage]] + offsets[stage].astype(np.float64) @ (scale * upright).T
        x, y = np.clip(np.nan_to_num(at), 0, last).astype(np.float32).T
        left, top = np.minimum(x.astype(np.intp), last - 1), np.minimum(y.astype(np.intp), last - 1)
        fx, fy = x - left.astype(np.float32), y - top.astype(np.float32)
        upper = crop[top, left] * (1 - fx) + crop[top, left + 1] * fx
        lower = crop[top + 1, left] * (1 - fx) + crop[top + 1, left + 1] * fx
        pool = upper * (1 - fy) + lower * fy
        pool = (pool / (pool.std(dtype=np.float64) + contrast)).astype(np.float32)
        node = np.zeros(splits.shape[1], np.intp)
        while node[0] < splits.shape[2]:
            pair = splits[stage, trees, node]
            difference = pool[pair[:, 0]].astype(np.float64) - pool[pair[:, 1]]
            node = 2 * node + 1 + (difference > thresholds[stage, trees, node])
        update = leaves[stage, trees, node - splits.shape[2]].sum(axis=0, dtype=np.float64) * units[stage]
        _move_face(update, upright, limits, rotation, placement, shape)


def describe_points(
    crop: NDArray[np.uint8],
    matrix: Float,
    side: int,
    directions: Float32,
    taps: Float32,
    points: Float,
    offsets: Float32,
    floor: float,
    out: Float32,
) -> None:
    """Describe points of a patch by the slopes around them in some directions."""
    out[:] = _descriptors(_found_around(crop, matrix, side, taps, points, offsets, directions), floor)


def _found_around(
    crop: NDArray[np.uint8],
    matrix: Float,
    side: int,
    taps: Float32,
    points: Float,
    offsets: Float32,
    directions: Float32,
    *,
    signed: bool = False,
) -> NDArray[Any]:
    """Return the blurred slopes around points of a patch, (n, K, B), their positive parts unless `signed`."""
    row, column = np.mgrid[:side, :side]
    x, y = (_fixed(m[1] * row + m[2], FURTHEST) + column * _fixed(m[0], LONGEST_STEP) for m in matrix)
    patch = _bilinear(crop[None], x / 65536, y / 65536)[0].astype(np.float64)
    padded = np.pad(patch, 1, mode="edge")
    dx, dy = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    maps = directions[:, :1, None] * dx + directions[:, 1:, None] * dy
    if not signed:
        maps = np.maximum(maps, 0)
    r = len(taps) // 2
    for axis in (2, 1):
        width = [(0, 0), (0, 0), (0, 0)]
        width[axis] = (r, r)
        maps = sliding_window_view(np.pad(maps, width, mode="edge"), len(taps), axis=axis) @ taps
    at = points[:, None] + offsets.astype(np.float64)
    return _bilinear(maps, at[..., 0], at[..., 1]).transpose(1, 2, 0)


def _descriptors(found: NDArray[Any], floor: float) -> NDArray[Any]:
    flat = found.reshape(len(found), -1)
    return np.asarray(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + floor))


def _turned(
    found: NDArray[Any],
    around: Callable[..., NDArray[Any]],
    directions: Float32,
    offsets: Float32,
    mirror: Int,
) -> NDArray[Any] | None:
    """Return what is found around the points' counterparts in the mirror; None: `found` does not tell.

    `around` finds the slopes in some directions, as `found` is those in its own.
    Where directions are the opposites of those in the mirror, the positive part of a slope that way is that
    of the slope itself, less the slope.
    """
    samples, same, opposite = _in_mirror(offsets), _in_mirror(directions), _in_mirror(directions, -1.0)
    if samples is None:
        return None
    if same is not None:
        return np.asarray(found[mirror][:, samples][:, :, same])
    if opposite is None:
        return None
    slopes = around(directions[opposite], signed=True)
    return np.asarray((found[:, :, opposite] - slopes)[mirror][:, samples])


def _in_mirror(vectors: Float32, sign: float = 1.0) -> NDArray[np.intp] | None:
    """Return which vector each is in the mirror, or the opposite of that (-1); None if one is none."""
    turned = vectors * np.array([-sign, sign], np.float32)
    near = np.abs(turned - vectors[:, None]).max(axis=2) < np.float32(1e-4)
    return np.asarray(near.argmax(axis=0)) if near.any(axis=0).all() else None


def _fixed(values: Any, bound: float) -> Any:
    """Return numbers in units of 2^-16, bounded."""
    return np.floor(np.clip(np.nan_to_num(values, nan=bound), -bound, bound) * 65536 + 0.5).astype(np.int64)


def _bilinear(maps: NDArray[Any], x: Float, y: Float) -> Float:
    """Return the values of maps (B, h, w) at points; their borders go on outside."""
    last = maps.shape[1] - 1
    px, py = (np.clip(np.nan_to_num(a), 0, last).astype(np.float32) for a in (x, y))
    left, top = np.minimum(px.astype(np.intp), last - 1), np.minimum(py.astype(np.intp), last - 1)
    fx, fy = px - left.astype(np.float32), py - top.astype(np.float32)
    upper = maps[:, top, left] * (1 - fx) + maps[:, top, left + 1] * fx
    lower = maps[:, top + 1, left] * (1 - fx) + maps[:, top + 1, left + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def weigh_descriptors(
    descriptors: Float32, weights: NDArray[np.int8], units: Float32, bias: Float32, out: Float
) -> None:
    """Compute ``bias + units * sum(descriptors * weights)``."""
    flat = weights.reshape(-1, weights.shape[2]).astype(np.float64)
    out[:] = bias + units * (descriptors.reshape(-1).astype(np.float64) @ flat)


def run_layers(
    image: NDArray[np.int16],
    table: NDArray[np.int32],
    weights: NDArray[np.int8],
    factors: Float32,
    biases: NDArray[np.int32],
    shares: Float32,
    out: Float32,
) -> None:
    """Send an image through convolutions, one after the other."""
    # In double precision all sums are exact.
    seen, at, first = image[:, :, None].astype(np.float64), 0, 0
    for i, (kernel, stride, padding, outputs, residual, rectify) in enumerate(table.tolist()):
        inputs = seen.shape[2]
        size, last = blocked_size(kernel, inputs, outputs), first + outputs
        own = unblocked(weights[at : at + size], kernel, inputs, outputs)
        padded = np.pad(seen, [(padding, padding), (padding, padding), (0, 0)])
        windows = sliding_window_view(padded, (kernel, kernel), axis=(0, 1))[::stride, ::stride]
        patches = np.moveaxis(windows, 2, 4)
        sums = patches.reshape(*patches.shape[:2], -1) @ own.astype(np.float64) + biases[first:last]
        found: NDArray[Any] = sums.astype(np.float32) * factors[first:last]
        if i + 1 < len(table):
            if residual:
                found += seen.astype(np.float32) * shares[i]
            found = np.rint(np.clip(found, -LEVELS, LEVELS)).astype(np.float64)
        seen = np.maximum(found, 0) if rectify else found
        at, first = at + size, last
    out[:] = seen.reshape(-1)


def look_at_faces(
    crops: NDArray[np.uint8],
    length: float,
    looks: int,
    contrast: float,
    limit: float,
    table: NDArray[np.int32],
    weights: NDArray[np.int8],
    factors: Float32,
    biases: NDArray[np.int32],
    shares: Float32,
    mode_units: Float,
    limits: Float,
    matrix: Float,
    patch: Float32,
    mean: Float,
    modes: Float,
    step_limits: Float,
    mirror: Int,
    signs: Float,
    edges: Float,
    width: float,
    patches: Float,
    directions: Float32,
    taps: Float32,
    offsets: Float32,
    step_weights: NDArray[np.int8],
    step_units: Float32,
    bias: Float32,
    rotations: Float,
    placements: Float,
    shapes: Float,
) -> None:
    """Move faces from where they are taken to be to where a network sees them, and take steps from there."""
    side, said = patch.shape[1], np.empty(int(table[-1, 3]), np.float32)
    seen_in = np.repeat(crops, len(placements) // len(crops), axis=0)
    for crop, rotation, placement, shape in zip(seen_in, rotations, placements, shapes, strict=True):
        for _ in range(looks):
            plane = _upright(rotation)
            matrix[0, :, :2] = plane * (placement[0] * length / side)
            matrix[0, :, 2] = placement[1:] - matrix[0, :, :2].sum(axis=1) * ((side - 1) / 2)
            _sample_normalised(crop, matrix, contrast, patch)
            run_layers(in_levels(patch[0], limit), table, weights, factors, biases, shares, said)
            found = said.astype(np.float64)
            with np.errstate(over="ignore"):
                scale = placement[0] * np.exp(found[0])
            rotation[:] = _axis_angle_to_matrix(found[1:4])
            rotation[:2] = plane @ rotation[:2]
            placement[1:] += side * matrix[0, :, :2] @ found[4:6]
            placement[0] = scale
            shape[:] = np.clip(found[6 : 6 + shape.size] * mode_units, -limits, limits)
            if not (np.isfinite(placement).all() and scale >= MIN_SCALE):
                placement[:] = np.nan
                break
    faces = (np.split(numbers, len(crops)) for numbers in (rotations, placements, shapes))  # views
    for crop, *own in zip(crops, *faces, strict=True):
        take_steps(
            crop[:, :, 0], mean, modes, step_limits, mirror, signs, edges, width, patches, directions, taps,
            offsets, step_weights, step_units, bias, *own,
        )  # fmt: skip


def refine_faces(
    crops: NDArray[np.uint8],
    patch_scale: float,
    contrast: float,
    limit: float,
    table: NDArray[np.int32],
    weights: NDArray[np.int8],
    factors: Float32,
    biases: NDArray[np.int32],
    shares: Float32,
    offsets: Float,
    point_weights: NDArray[np.int8],
    point_units: Float32,
    point_bias: Float32,
    hidden_weights: NDArray[np.int8],
    hidden_units: Float32,
    hidden_bias: Float32,
    last_weights: NDArray[np.int8],
    last_units: Float32,
    last_bias: Float32,
    mean: Float,
    modes: Float,
    mode_units: Float,
    limits: Float,
    matrix: Float,
    patch: Float32,
    rotations: Float,
    placements: Float,
    shapes: Float,
) -> None:
    """Move faces by what a network sees around their landmarks."""
    side, channels = patch.shape[1], int(table[-1, 3])
    middle, places = (side - 1) / 2, side
    for kernel, stride, padding, *_ in table.tolist():
        places = (places + 2 * padding - kernel) // stride + 1
    features = np.empty((places, places, channels), np.float32)
    seen_in = np.repeat(crops, len(placements) // len(crops), axis=0)
    faces = zip(seen_in, rotations, placements, shapes[:, : len(modes)], strict=True)
    for crop, rotation, placement, shape in faces:
        landmarks = _seen_at(mean, modes, rotation, placement, shape)
        if landmarks is None:
            continue
        upright = _upright(rotation)
        centre = landmarks.mean(axis=0)
        matrix[0, :, :2] = upright * (placement[0] / patch_scale)
        matrix[0, :, 2] = centre - matrix[0, :, :2].sum(axis=1) * middle
        _sample_normalised(crop, matrix, contrast, patch)
        run_layers(in_levels(patch[0], limit), table, weights, factors, biases, shares, features.reshape(-1))
        points = ((landmarks - centre) @ upright / placement[0])[:, None] + offsets
        at = np.clip((points * patch_scale + middle + 0.5) * (places / side) - 0.5, 0, places - 1)
        first = at.astype(np.intp)
        (left, top), (right, bottom) = (
            np.moveaxis(first, 2, 0),
            np.moveaxis(np.minimum(first + 1, places - 1), 2, 0),
        )
        u, v = np.moveaxis((at - first).astype(np.float32)[..., None], 2, 0)
        above = (1 - u) * features[top, left] + u * features[top, right]
        below = (1 - u) * features[bottom, left] + u * features[bottom, right]
        read = ((1 - v) * above + v * below).reshape(len(points), -1)
        own = np.einsum("ij,ijk->ik", read.astype(np.float64), point_weights.astype(np.float64))
        seen = np.maximum(point_bias + point_units * own, 0).reshape(-1)
        turned = rotation.copy()
        turned[:2] = upright.T @ rotation[:2]
        numbers = np.concatenate([seen, shape / mode_units, turned.reshape(-1)])
        hidden = np.maximum(hidden_bias + hidden_units * (numbers @ hidden_weights.astype(np.float64)), 0)
        last = np.concatenate([seen, hidden]) @ last_weights.astype(np.float64)
        _move_face(last_bias + last_units * last, upright, limits, rotation, placement, shape)


def _seen_at(mean: Float, modes: Float, rotation: Float, placement: Float, shape: Float) -> Float | None:
    """Return a face's landmarks (n, 2) in the crop; None, and no number in its placement, if it has none."""
    usable = np.isfinite(rotation).all() and np.isfinite(placement).all()
    if not (usable and placement[0] >= MIN_SCALE):
        placement[:] = np.nan
        return None
    flat = placement[0] * (mean + shape @ modes).reshape(3, -1).T @ rotation[:2].T
    return np.asarray(flat + placement[1:])


def _sample_normalised(crop: NDArray[np.uint8], matrix: Float, contrast: float, patch: Float32) -> None:
    """Sample a patch, and bring it to mean 0 and about deviation 1."""
    sample_areas(crop, matrix, patch)
    values = patch.astype(np.float64)
    grey = values.sum() / values.size
    variance = (values * values).sum() / values.size - grey * grey
    patch[:] = (values - grey) / (np.sqrt(max(variance, 0.0)) + contrast)


def take_steps(
    crop: NDArray[np.uint8],
    mean: Float,
    modes: Float,
    limits: Float,
    mirror: Int,
    signs: Float,
    edges: Float,
    width: float,
    patches: Float,
    directions: Float32,
    taps: Float32,
    offsets: Float32,
    weights: NDArray[np.int8],
    units: Float32,
    bias: Float32,
    rotations: Float,
    placements: Float,
    shapes: Float,
) -> None:
    """Take linear steps from each guess."""
    for step, (patch_scale, patch_side, floor, taps_count) in enumerate(patches.tolist()):
        side, own_taps = int(patch_side), taps[step, : int(taps_count)]
        middle = (side - 1) / 2
        for rotation, placement, shape in zip(rotations, placements, shapes[:, : len(modes)], strict=True):
            landmarks = _seen_at(mean, modes, rotation, placement, shape)
            if landmarks is None:
                continue
            scale = placement[0]
            turn, upright = float(np.arcsin(np.clip(rotation[0, 2], -1, 1))), _upright(rotation)
            plain = 1 - _beyond(-turn, 0.0, width)
            update = np.zeros(len(signs))
            seen_turned: Float | None = None
            for mirrored, yaw, own in ((False, turn, plain), (True, -turn, 1 - plain)):
                if own == 0:
                    continue
                if seen_turned is not None:
                    found = seen_turned
                else:
                    to_crop, seen = upright * (scale / patch_scale), landmarks
                    if mirrored:
                        to_crop[:, 0] *= -1
                        seen = landmarks[mirror]
                    centre = seen.mean(axis=0)
                    # The columns are orthogonal, and as long as each other.
                    points = (seen - centre) @ to_crop / (to_crop[:, 0] @ to_crop[:, 0]) + middle
                    matrix = np.column_stack([to_crop, centre - to_crop.sum(axis=1) * middle])
                    around = partial(_found_around, crop, matrix, side, own_taps, points, offsets[step])
                    found = around(directions)
                    if own < 1:
                        seen_turned = _turned(found, around, directions, offsets[step], mirror)
                descriptors = _descriptors(found, floor).astype(np.float32)
                beyond = [1.0, *(_beyond(yaw, edge, width) for edge in edges.tolist()), 0.0]
                for view, share in enumerate(own * -np.diff(beyond)):
                    if share > 0:
                        said = np.empty(len(signs))
                        numbers = weights[step, view], units[step, view], bias[step, view]
                        weigh_descriptors(descriptors, *numbers, said)
                        update += share * (said * signs if mirrored else said)
            _move_face(update, upright, limits, rotation, placement, shape)


def _beyond(turn: float, edge: float, width: float) -> float:
    """Return the share of what lies beyond an edge: 0 at `width` before it, 1 at so much beyond it."""
    if width > 0:
        return min(max((turn - edge) / width, -1.0), 1.0) * 0.5 + 0.5
    return float(turn > edge)


def _move_face(
    update: Float, upright: Float, limits: Float, rotation: Float, placement: Float, shape: Float
) -> None:
    """Move a face by an update: log scale, turn and shift as an upright face has them, and shape."""
    placement[1:] += placement[0] * upright @ update[4:6]
    with np.errstate(over="ignore"):
        placement[0] *= np.exp(update[0])
    rotation[:] = _axis_angle_to_matrix(np.append(upright @ update[1:3], update[3])) @ rotation
    shape[:] = np.clip(shape + update[6:], -limits, limits)


def _upright(rotation: Float) -> Float:
    """Return the rotation (2, 2) in the image plane that brings an upright face to the roll of a rotation."""
    cosine, sine = rotation[1, 1], -rotation[0, 1]
    plane: Float = np.array([[cosine, -sine], [sine, cosine]]) / max(np.hypot(cosine, sine), 1e-300)
    return plane


def _axis_angle_to_matrix(w: Float) -> Float:
    x, y, z = w
    angle = np.sqrt(w @ w)
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    R: Float = np.eye(3) + np.sinc(angle / np.pi) * K + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (K @ K)
    return R


def area_matrices(landmarks: Float, to_image: Float, side: int) -> Float:
    """Return the affine maps from areas of interest to the image.

    Position (column j, row i) of an area is ``landmark + A^-1 (j - (a-1)/2, i - (a-1)/2)``.

    Parameters
    ----------
    landmarks : ndarray, shape (v, 2), float64
        Middles of the areas, px.
    to_image : ndarray, shape (2, 2), float64
        ``A^-1``: from the reference frame to the image.
    side : int
        Side a of the areas.

    Returns
    -------
    ndarray, shape (v, 2, 3), float64
    """
    # Rounded as the reference rounds them: sampling quantises coordinates, and what
    # falls on the other side of a step would differ by 1/32 px.
    A = to_image.astype(np.float32)
    half = np.float32((side - 1) / 2)
    matrices = np.empty((len(landmarks), 2, 3))
    matrices[:, :, :2] = A
    matrices[:, :, 2] = landmarks.astype(np.float32) - (A[:, 0] * half + A[:, 1] * half)
    return matrices


def place_areas(
    mean: Float,
    components: Float,
    pose: Float,
    shape: Float,
    visible: Int,
    patch_scale: float,
    side: int,
    base: Float,
    to_reference: Float,
    to_image: Float,
    matrices: Float,
) -> None:
    """Compute the landmarks in the image and the affine maps of the areas of interest around them."""
    points = (mean + components @ shape).reshape(3, -1).T
    base[:] = pose[0] * points @ _euler_to_matrix(pose[1:4])[:2].T + pose[4:6]
    to_reference[:] = procrustes_similarity(base, patch_scale * points[:, :2])
    to_image[:] = np.linalg.inv(to_reference)
    matrices[:] = area_matrices(base[visible], to_image, side)


def deform(mean: Float, components: Float, shape: Float, out: Float) -> None:
    """Compute ``mean + components @ shape``."""
    out[:] = mean + components @ shape


def close_openings(contacts: NDArray[np.int32], sides: Float, depth: float, points: Float) -> None:
    """Put landmarks that have passed the other edge of their opening onto it."""
    covered, covering = contacts.T
    _, y, z = points
    past = (y[covering] - y[covered]) * sides
    met = past > 0
    covered, covering, past = covered[met], covering[met], past[met]
    y[covered] = y[covering]
    # Not at once: landmarks are continuous in the shape.
    z[covered] += (z[covering] - z[covered]) * np.minimum(past / depth, 1.0)


def turned_landmarks(
    mean: Float,
    components: Float,
    contacts: NDArray[np.int32],
    sides: Float,
    depth: float,
    pose: Float,
    shape: Float,
    out: Float,
) -> None:
    """Compute the landmarks as they are turned, their openings closed: in the image, or in mm."""
    axes, points = out.shape[1], (mean + components @ shape).reshape(3, -1)
    close_openings(contacts, sides, depth, points)
    out[:] = points.T @ _euler_to_matrix(pose[1:4])[:axes].T
    if axes == 2:
        out[:] = pose[0] * out + pose[4:6]


def extent(points: Float, out: Float) -> None:
    """Find the lowest and the highest coordinates of points."""
    out[:] = np.concatenate([points.min(axis=0), points.max(axis=0)])


def perspective_pose(
    shape: Float,
    landmarks: Float,
    camera: Float,
    max_iterations: int,
    tolerance: float,
    rotation: Float,
    translation: Float,
) -> None:
    """Find the pose in which a shape looks most like its landmarks, by Levenberg-Marquardt."""
    found = _linearised(shape, landmarks, camera, rotation, translation)
    if found is None:
        return
    error, H, g = found
    damping, step = 1e-3, np.empty(6)
    for _ in range(max_iterations):
        trial = None
        if solve(H + damping * np.diag(np.diag(H)), g, step):
            turned = _axis_angle_to_matrix(step[:3]) @ rotation
            moved = translation + step[3:]
            # A head behind the camera, or around it, is not a solution.
            trial = _linearised(shape, landmarks, camera, turned, moved)
        if trial is None or not trial[0] <= error:
            damping *= 10
            if damping > 1e10:
                break
            continue
        converged = error - trial[0] <= tolerance * error
        rotation[:], translation[:], (error, H, g) = turned, moved, trial
        damping = max(damping / 10, 1e-12)
        if converged:
            break


def _linearised(
    shape: Float, landmarks: Float, camera: Float, rotation: Float, translation: Float
) -> tuple[float, Float, Float] | None:
    """Return the squared error of a pose, and the normal equations (6, 6) and (6,) of its linearisation.

    None if part of the shape is not before the camera. The first three columns are for small rotations on the
    left (R' = (I + [w]x) R).
    """
    focal, middle = camera[:2], camera[2:]
    turned = shape @ rotation.T
    x, y, z = turned.T
    X, Y, Z = (turned + translation).T
    # Also false for NaN.
    if not (Z > NEAREST).all():
        return None
    zero, one = np.zeros_like(Z), np.ones_like(Z)
    # Derivatives of X, Y, Z by w (w x turned) and by the translation.
    du = np.stack([zero, z, -y, one, zero, zero], axis=1)
    dv = np.stack([-z, zero, x, zero, one, zero], axis=1)
    dz = np.stack([y, -x, zero, zero, zero, one], axis=1)
    seen = np.stack([X / Z, Y / Z], axis=1)
    J = (np.stack([du, dv], axis=1) - seen[:, :, None] * dz[:, None]) * (focal / Z[:, None])[:, :, None]
    residual, J = (landmarks - (focal * seen + middle)).reshape(-1), J.reshape(-1, 6)
    return float(residual @ residual), J.T @ J, J.T @ residual


def fit_scale(
    image: NDArray[Any],
    grey_pairs: NDArray[np.uint16],
    grey_bounds: Int,
    mean: Float,
    components: Float,
    regularisation: Float,
    limits: Float,
    visible: Int,
    patch_scale: float,
    block_planes: Int,
    neurons: Float32,
    weight_sums: Float32,
    norm_weights: Float32,
    biases: Float32,
    alphas: Float32,
    sigmas: Float32,
    kernel: Float,
    response_power: int,
    floor: float,
    rigid: bool,
    max_iterations: int,
    tolerance: float,
    base: Float,
    to_reference: Float,
    to_image: Float,
    matrices: Float,
    planes: Float32,
    sums: Float32,
    maps: Float32,
    weights: Float,
    offsets: Float,
    pose: Float,
    shape: Float,
) -> tuple[int, bool]:
    """Fit pose and shape to the image at one scale, in one call."""
    placed = base, to_reference, to_image
    place_areas(mean, components, pose, shape, visible, patch_scale, planes.shape[2], *placed, matrices)
    experts = block_planes, neurons, weight_sums, norm_weights, biases, alphas
    smooth = maps[: len(sigmas)]
    response_maps(image, grey_pairs, grey_bounds, matrices, *experts, sigmas, planes, sums, smooth)
    if not len(sigmas):
        maps[:] = sums
    if response_power:
        weigh_maps(maps, response_power, floor, weights)
    iterations, converged = 0, False
    for pass_is_rigid in (True,) if rigid else (True, False):
        done, converged = nu_rlms_pass(
            mean, components, regularisation, limits, pose, shape, base, visible, maps, to_reference,
            to_image, kernel, weights, pass_is_rigid, max_iterations, tolerance, offsets,
        )  # fmt: skip
        iterations += done
    return iterations, converged


def filter_images(images: Float32, weights: Float32, biases: Float32, slopes: Float32, out: Float32) -> None:
    """Convolve images of several channels with small filters, and rectify the results."""
    _, height, along, _ = weights.shape
    channels, count = images.shape[3], out.shape[3]
    matrix = weights.transpose(1, 2, 0, 3).reshape(height * along, -1)[:, :count]
    windows = sliding_window_view(images, (height, along // channels), axis=(1, 2))
    sums = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, height * along) @ matrix
    sums += biases.reshape(-1)[:count]
    out[:] = np.where(sums < 0, sums * slopes.reshape(-1)[:count], sums).reshape(out.shape)


def pool_images(images: Float32, window: int, rows_before: int, columns_before: int, out: Float32) -> None:
    """Find the greatest numbers of square windows, 2 places apart."""
    after = (2 * n + window for n in out.shape[1:3])
    border = [(0, 0), *zip((rows_before, columns_before), after, strict=True), (0, 0)]
    padded = np.pad(images, border, constant_values=-np.inf)
    windows = sliding_window_view(padded, (window, window), axis=(1, 2))[:, ::2, ::2]
    out[:] = windows[:, : out.shape[1], : out.shape[2]].max(axis=(-2, -1))


def shrink_image(image: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Make an image smaller: each pixel is the mean of the area that it covers, rounded."""
    rows, columns = (_covered(*lengths) for lengths in zip(image.shape[:2], out.shape[:2], strict=True))
    # Whole numbers, and so exact, in any order.
    sums = np.moveaxis(
        np.tensordot(rows, np.tensordot(image.astype(np.float64), columns, (1, 1)), (1, 0)), 1, 2
    )
    out[:] = np.rint(sums * np.outer(1 / rows.sum(axis=1), 1 / columns.sum(axis=1))[:, :, None])


def _covered(length: int, count: int) -> Float:
    """Return (count, length): how much of each pixel lies in each of `count` parts, in 1/256 px."""
    i = np.arange(count + 1)
    edges = (2 * i * length * 256 + count) // (2 * count)
    pixels = 256 * np.arange(length)
    low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 256)
    return np.asarray(np.maximum(high - low, 0), np.float64)
