"""Random input of every kernel, and the bounds between the variants: the one place that knows both."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from types import ModuleType
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from pyclnf._kernels import _reference, layout
from pyclnf._kernels.layout import FILTERS, LEVELS, blocked, filters_in_blocks
from pyclnf.nu_rlms import gaussian_kernel

# Largest difference between a compiled variant and the NumPy twin, as (relative to the largest
# magnitude of the twin's result, absolute). The order of summation and fused multiply-adds differ; sums are
# float32 in sample_areas and neuron_responses, float64 elsewhere.
BOUNDS = {
    "sample_areas": (0.0, 1e-4),  # grey levels of 0..255: a few units in the last place of float32
    "sobel_magnitude": (1e-6, 0.0),
    # For gains of about 5 and alphas that add up to 1. Most are within 2e-6; a flat patch beside the area's
    # mean has the norm 1, so that what float32 loses of its (some ten) grey levels, times weights that add up
    # to 4, goes through the gain: 2 in 12,000 random inputs come to 4e-6 to 6e-6.
    "neuron_responses": (0.0, 1e-5),
    "apply_sigma": (5e-6, 0.0),
    "apply_folded_sigma": (5e-6, 0.0),
    "response_maps": (2e-6, 0.0),  # of areas with contrast: sums of neurons, then Sigma
    "weigh_maps": (1e-14, 0.0),
    "deform": (1e-13, 0.0),
    "close_openings": (1e-14, 0.0),
    "mean_shift": (0.0, 1e-12),  # map px
    "likelihoods": (1e-13, 0.0),
    "jacobian": (1e-14, 0.0),
    "normal_equations": (1e-14, 0.0),
    "solve": (1e-12, 0.0),
    "place_areas": (1e-13, 0.0),
    "turned_landmarks": (1e-13, 0.0),
    "extent": (0.0, 0.0),
    # mm and rad. One may end a step earlier, as that would change the squared error by 1e-12.
    "perspective_pose": (0.0, 5e-6),
    "axis_taps": (0.0, 0.0),
    "average_areas": (0.0, 1e-4),  # grey levels, sums in float32
    "cut_square": (0.0, 1e-4),  # as before
    "mirror_faces": (0.0, 0.0),
    "mirror_image": (0.0, 0.0),
    "mix_faces": (0.0, 1e-10),  # px, mm and rad
    "run_cascade": (0.0, 1e-9),  # px of the crop, mm and rad, where both take the same branches
    # Four roundings of a grey level (8e-6 each) over the floor of a descriptor's length, 20, and as many of
    # the descriptor.
    "describe_points": (0.0, 4e-6),
    # Sums of a point's products in float32; of sums of up to 10 that cancel the absolute bound is left.
    "weigh_descriptors": (2e-6, 5e-7),
    "run_layers": (0.0, 0.0),  # whole numbers, rounded alike
    "refine_faces": (1e-4, 1e-4),  # px of the crop, mm and rad; sums of some thousands of products
    "look_at_faces": (1e-5, 2e-4),  # px of the crop, mm and rad; layers and steps as above and below
    "take_steps": (0.0, 2e-4),  # px of the crop, mm and rad; descriptors as above, weighted
    "nu_rlms_pass": (0.0, 1e-9),  # px, mm and rad
    "fit_scale": (1e-4, 5e-3),  # maps as above, whose differences then move landmarks
    "filter_images": (5e-6, 0.0),  # up to 320 products a sum, in float32
    "pool_images": (0.0, 0.0),
    "shrink_image": (0.0, 0.0),  # sums of whole numbers, rounded alike
}

Arguments = list[Any]


def areas(random: np.random.Generator, v: int, side: int) -> np.ndarray:
    """Return areas of grey levels: noise, ramps, some constant and some with a flat half."""
    out = random.uniform(0, 255, (v, side, side)).astype(np.float32)
    out[1::4] = np.linspace(0, 255, side, dtype=np.float32)
    out[2::4] = random.integers(0, 256)
    out[3::4, :, : side // 2] = 128.0
    return out


def sample_areas(random: np.random.Generator, image: np.ndarray | None = None, v: int = 5) -> Arguments:
    if image is None:
        image = random.integers(0, 256, (23, 31, 3), dtype=np.uint8)
    matrices = np.empty((v, 2, 3))
    matrices[:, :, :2] = random.normal(0, 1.5, (v, 2, 2))
    matrices[:, :, 2] = random.uniform(-15, 45, (v, 2))
    return [image, matrices, np.empty((v, 9, 9), np.float32)]


def sobel_magnitude(random: np.random.Generator) -> Arguments:
    side = int(random.integers(1, 26))
    return [areas(random, 5, side), np.empty((5, side, side), np.float32)]


def neuron_responses(
    random: np.random.Generator,
    window: int | None = None,
    blocks: int | None = None,
    planes: int | None = None,
) -> Arguments:
    window = int(random.integers(3, 16)) if window is None else window
    blocks = int(random.integers(1, 4)) if blocks is None else blocks
    planes = int(random.integers(1, 4)) if planes is None else planes
    v, rows = 4, int(random.choice([3, 5, 11]))
    weights = random.normal(0, 1, (v, blocks, rows, rows, 8)).astype(np.float32)
    weights /= np.sqrt((weights**2).sum(axis=(2, 3), keepdims=True))
    alphas = random.uniform(0, 1, (v, blocks, 8)).astype(np.float32)
    alphas[:, -1, int(random.integers(1, 9)) :] = 0  # a number of neurons that is no multiple of eight
    alphas /= alphas.sum(axis=(1, 2), keepdims=True)
    block_planes = random.integers(-1, planes, (v, blocks)).astype(np.int32)
    if planes > 1:
        block_planes[random.random((v, blocks)) < 0.4] = layout.PAIR
    side = window + rows - 1
    return [
        np.stack([areas(random, v, side) for _ in range(planes)]),
        block_planes,
        weights,
        weights.sum(axis=(2, 3), dtype=np.float64).astype(np.float32),
        random.normal(0, 5, (v, blocks, 8)).astype(np.float32),
        random.normal(0, 5, (v, blocks, 8)).astype(np.float32),
        alphas,
        np.empty((v, window, window), np.float32),
    ]


def apply_sigma(random: np.random.Generator) -> Arguments:
    v, n = 3, int(random.integers(1, 82))
    sigmas = random.normal(0, 1, (v, n, n))
    sigmas = (sigmas + sigmas.transpose(0, 2, 1)).astype(np.float32)
    u = random.uniform(0, 2, (v, n)).astype(np.float32)
    u[0] = 0
    return [sigmas, u, np.empty((v, n), np.float32)]


def folded_sigmas(random: np.random.Generator, v: int, window: int) -> np.ndarray:
    rows = []
    for indices, stride in layout.folded_blocks(window):
        block = np.zeros((v, indices.size, stride))
        values = random.normal(0, 1, (v, indices.size, indices.size))
        block[:, :, : indices.size] = values + values.transpose(0, 2, 1)
        rows.append(block.reshape(v, -1))
    return np.concatenate(rows, axis=1).astype(np.float32)


def apply_folded_sigma(random: np.random.Generator) -> Arguments:
    v, window = 3, int(random.integers(1, 17))
    sigmas = folded_sigmas(random, v, window)
    u = random.uniform(0, 2, (v, window, window)).astype(np.float32)
    u[0] = 0
    return [sigmas, u, np.empty_like(u)]


def grey_room(random: np.random.Generator) -> Arguments:
    """Room for the pixels of all of an image, of few, or none."""
    return [np.empty(int(random.choice([90 * 110, 1000, 0])), np.uint16), np.zeros(4, np.int32)]


def response_maps(random: np.random.Generator) -> Arguments:
    planes, *blocks, sums = neuron_responses(random, window=int(random.integers(3, 13)), planes=2)
    sigmas = folded_sigmas(random, *sums.shape[:2])
    # All areas lie inside: of one that sees no more than a share of the outermost pixels what float32 rounds
    # off its few grey levels is a thousandth of a response. (`sample_areas` above samples beyond the edge.)
    half = (planes.shape[2] - 1) / 2
    image = random.integers(0, 256, (80, 90, 3), dtype=np.uint8)
    matrices = np.empty((len(sums), 2, 3))
    matrices[:, :, :2] = np.clip(random.normal(0, 1, (len(sums), 2, 2)), -1.2, 1.2)
    matrices[:, :, 2] = (
        (45, 40) - half * matrices[:, :, :2].sum(axis=2) + random.uniform(-3, 3, (len(sums), 2))
    )
    return [image, *grey_room(random), matrices, *blocks, sigmas, planes, sums, np.empty_like(sums)]


def responses(random: np.random.Generator, v: int, window: int) -> np.ndarray:
    out = random.exponential(1, (v, window, window)).astype(np.float32)
    out[1::3] = 0  # without mass
    out[2::3, 1:] = 0  # all on one side
    return out


def weigh_maps(random: np.random.Generator) -> Arguments:
    maps = responses(random, 5, int(random.integers(1, 16)))
    return [maps, int(random.integers(1, 9)), 1e-8, random.uniform(0, 3, 5)]


def mean_shift(random: np.random.Generator) -> Arguments:
    v, window = 7, int(random.integers(3, 16))
    offsets = random.uniform(-0.5 * window, 1.5 * window, (v, 2))
    offsets[3] = np.nan
    offsets[4] = -1e9, 1e9
    offsets[5] = 0, window
    return [responses(random, v, window), offsets, gaussian_kernel(window, 1.25), np.empty((v, 2))]


def likelihoods(random: np.random.Generator) -> Arguments:
    v, window = 7, int(random.integers(3, 16))
    offsets = random.uniform(-3, window + 3, (v, 2))
    n = v + int(random.integers(0, 5))
    visible = random.permutation(n)[:v].astype(np.int32)
    sigma = float(random.uniform(0.1, 3))
    return [responses(random, v, window), offsets, sigma, visible, np.empty(n), np.empty(v)]


def turned_landmarks(random: np.random.Generator) -> Arguments:
    m = int(random.integers(0, 9))
    pose = np.concatenate([[random.uniform(0.2, 3)], random.normal(0, 0.6, 3), random.uniform(-300, 900, 2)])
    contacts, sides, depth, points = close_openings(random)
    n = points.shape[1]
    components = random.normal(0, 0.4, (3 * n, m))
    out = np.empty((n, int(random.integers(2, 4))))
    return [points.reshape(-1), components, contacts, sides, depth, pose, random.normal(0, 9, m), out]


def extent(random: np.random.Generator) -> Arguments:
    points = random.normal(0, 99, (int(random.integers(1, 70)), 2))
    if random.random() < 0.3:
        points[random.integers(len(points)), random.integers(2)] = random.choice([np.nan, np.inf, -np.inf])
    return [points, np.empty(4)]


def perspective_pose(random: np.random.Generator) -> Arguments:
    """A head of which the camera has seen the landmarks, not quite where they are."""
    n = int(random.integers(6, 80))
    shape, camera = random.normal(0, 40, (n, 3)), np.array([*random.uniform(300, 2000, 2), 320.0, 240.0])
    rotation, translation = rotation_matrix(random), random.normal((0, 0, 600), 80)
    space = shape @ rotation.T + translation
    landmarks = camera[:2] * space[:, :2] / space[:, 2:] + camera[2:] + random.normal(0, 1, (n, 2))
    start = np.linalg.qr(rotation + random.normal(0, 0.1, (3, 3)))[0]
    start *= np.sign((start * rotation).sum(axis=0))
    return [shape, landmarks, camera, 50, 1e-12, start, translation + random.normal(0, 30, 3)]


def fit_scale(random: np.random.Generator, *, sigma: float = 100.0, max_iterations: int = 1) -> Arguments:
    """One update a pass, over maps so broad that a step of the kernel's table hardly matters."""
    window = int(random.integers(3, 13))
    planes, *blocks, sums = neuron_responses(random, window, planes=2)
    n, m, v = 20, int(random.integers(0, 4)), 16
    # As many experts as landmarks are seen.
    blocks = [np.repeat(part, 4, axis=0) for part in blocks]
    planes = np.repeat(planes, 4, axis=1)
    sums = np.empty((v, window, window), np.float32)
    return [
        random.integers(0, 256, (90, 110, 3), dtype=np.uint8),
        *grey_room(random),
        random.normal(0, 50, 3 * n),
        np.linalg.qr(random.normal(size=(3 * n, m)))[0].reshape(3 * n, m),
        random.uniform(0.1, 1, m),
        random.uniform(1, 10, m),
        np.sort(random.choice(n, v, replace=False)).astype(np.int32),
        float(random.uniform(0.2, 1)),
        *blocks,
        folded_sigmas(random, v, window)[: v * int(random.integers(2))],
        gaussian_kernel(window, sigma),
        int(random.integers(0, 3)),
        1e-8,
        bool(random.integers(2)),
        max_iterations,
        0.01,
        np.empty((n, 2)),
        np.empty((2, 2)),
        np.empty((2, 2)),
        np.empty((v, 2, 3)),
        planes,
        sums,
        np.empty_like(sums),
        random.uniform(0.5, 2, v),
        np.empty((v, 2)),
        np.array([random.uniform(0.4, 0.8), *random.uniform(-0.5, 0.5, 3), *random.uniform(40, 60, 2)]),
        random.normal(0, 3, m),
    ]


def place_areas(random: np.random.Generator) -> Arguments:
    n, m = int(random.integers(3, 70)), int(random.integers(0, 12))
    visible = np.flatnonzero(random.uniform(size=n) < 0.7).astype(np.int32)
    return [
        random.normal(0, 50, 3 * n),
        random.normal(0, 1, (3 * n, m)),
        np.array([random.uniform(0.3, 5), *random.uniform(-1.5, 1.5, 3), *random.uniform(0, 1000, 2)]),
        random.normal(0, 3, m),
        visible,
        float(random.uniform(0.2, 1)),
        int(random.integers(3, 40)),
        np.empty((n, 2)),
        np.empty((2, 2)),
        np.empty((2, 2)),
        np.empty((visible.size, 2, 3)),
    ]


def deform(random: np.random.Generator) -> Arguments:
    n, m = 3 * int(random.integers(1, 70)), int(random.integers(0, 60))
    return [random.normal(0, 50, n), random.normal(0, 1, (n, m)), random.normal(0, 3, m), np.empty(n)]


def close_openings(random: np.random.Generator) -> Arguments:
    """Edges close together, so that about half of them pass each other."""
    k = int(random.integers(0, 8))
    n = 2 * k + int(random.integers(1, 5))
    points = random.normal(0, 1, (3, n))
    contacts = random.permutation(n)[: 2 * k].astype(np.int32).reshape(k, 2)
    return [contacts, random.choice([-1.0, 1.0], k), float(random.uniform(0.1, 2)), points]


def faces(random: np.random.Generator, guesses: int, modes: int) -> Arguments:
    """Return rotations, placements and shapes."""
    turns = random.normal(0, random.choice([0.0, 1e-9, 0.3, 3.0]), (guesses, 3))
    placements = np.column_stack([random.uniform(0.05, 3, guesses), random.uniform(0, 99, (guesses, 2))])
    # (SciPy 1.11 knows no rotations of nothing.)
    rotations = Rotation.from_rotvec(turns).as_matrix() if guesses else np.empty((0, 3, 3))
    return [rotations, placements, random.normal(0, 9, (guesses, modes))]


def mirror_image(random: np.random.Generator) -> Arguments:
    image = random.integers(0, 256, random.integers(1, 90, 2), dtype=np.uint8)
    return [image, np.empty((2, *image.shape), np.uint8)]


def mirror_faces(random: np.random.Generator) -> Arguments:
    guesses, modes = (int(number) for number in random.integers(0, 5, 2))
    return [float(random.integers(1, 99)), random.choice([-1.0, 1.0], modes), *faces(random, guesses, modes)]


def mix_faces(random: np.random.Generator) -> Arguments:
    """Some the same as their others, some without a size."""
    guesses, modes = (int(number) for number in random.integers(0, 5, 2))
    others, own = faces(random, guesses, modes), faces(random, guesses, modes)
    for mine, other in zip(own, others, strict=True):
        mine[: guesses // 3] = other[: guesses // 3]
    if random.random() < 0.3:
        (own, others)[random.integers(2)][1][guesses // 2 :, 0] = random.choice([0.0, -1.0, np.inf, np.nan])
    reach = random.choice([np.inf, 1e-3, 30.0, 300.0])
    return [*others, random.uniform(0, 80), random.uniform(0, 1), reach, np.empty(guesses), *own]


def rotation_matrix(random: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(random.normal(size=(3, 3)))[0]


def jacobian(random: np.random.Generator) -> Arguments:
    n, m = int(random.integers(1, 70)), int(random.integers(0, 12))
    used = int(random.integers(0, m + 1))
    return [
        random.normal(0, 50, (n, 3)),
        rotation_matrix(random),
        float(random.uniform(0.1, 5)),
        random.normal(0, 1, (3 * n, m)),
        np.empty((2 * n, 6 + used)),
    ]


def normal_equations(random: np.random.Generator) -> Arguments:
    r, p = int(random.integers(1, 140)), 4 * int(random.integers(1, 12))
    weights = random.uniform(0, 3, r)
    weights[::5] = 0
    return [random.normal(0, 10, (r, p)), weights, np.empty((p, p))]


def solve(random: np.random.Generator) -> Arguments:
    p = int(random.integers(1, 42))
    J = random.normal(size=(3 * p, p))
    return [J.T @ J + np.eye(p), random.normal(size=p), np.empty(p)]


def nu_rlms_pass(
    random: np.random.Generator, *, modes: int | None = None, max_iterations: int = 1
) -> Arguments:
    """One update: after several, an offset near a step of the kernel's table may have taken the next."""
    n, window = 12, int(random.integers(3, 16))
    m = int(random.integers(1, 7)) if modes is None else modes
    visible = np.sort(random.choice(n, int(random.integers(4, n + 1)), replace=False)).astype(np.int32)
    mean, components = (
        random.normal(0, 50, 3 * n),
        np.linalg.qr(random.normal(size=(3 * n, m)))[0].reshape(3 * n, m),
    )
    pose = np.concatenate([random.uniform(0.5, 3, 1), random.uniform(-1, 1, 3), random.uniform(-50, 300, 2)])
    shape = random.normal(0, 3, m)
    angle, size = random.uniform(-1, 1), random.uniform(0.3, 3)
    to_reference = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    from pyclnf.pdm import euler_to_matrix

    points = (mean + components @ shape).reshape(3, n).T
    landmarks = pose[0] * points @ euler_to_matrix(pose[1:4])[:2].T + pose[4:6]
    # Positions in the middle between two steps of the table.
    wanted = np.floor(random.uniform(0, 10 * window - 2, (n, 2))) / 10 + 0.03
    base = landmarks - (wanted - (window - 1) / 2) @ np.linalg.inv(to_reference).T
    return [
        mean,
        np.ascontiguousarray(components),
        random.uniform(0.01, 1, m),
        random.uniform(1, 10, m),
        pose,
        shape,
        base,
        visible,
        random.exponential(1, (visible.size, window, window)).astype(np.float32),
        to_reference,
        np.linalg.inv(to_reference),
        gaussian_kernel(window, 1.5),
        random.uniform(0.1, 3, visible.size),
        bool(random.integers(2)),
        max_iterations,
        0.01,
        np.empty((visible.size, 2)),
    ]


def average_areas(random: np.random.Generator, image: np.ndarray | None = None) -> Arguments:
    if image is None:
        image = random.integers(0, 256, (19, 23, int(random.choice([1, 3]))), dtype=np.uint8)
    height, width = image.shape[:2]
    m, n, taps = (int(k) for k in random.integers(1, 7, 3))

    def axis(size: int, count: int) -> Arguments:
        # Side by side, as nearly always, or far apart.
        step = 1 if random.random() < 0.5 else int(random.integers(1, (size - 1) // taps + 1))
        first = np.sort(random.integers(0, size - step * (taps - 1), count))
        weights = random.dirichlet(np.ones(taps), count).astype(np.float32)
        weights[random.random(weights.shape) < 0.1] = 0
        return [(first[:, None] + step * np.arange(taps)).astype(np.int32), weights]

    return [image, *axis(height, m), *axis(width, n), np.empty((m, n), np.float32)]


def axis_taps(random: np.random.Generator) -> Arguments:
    size, side = int(random.integers(1, 60)), int(random.integers(1, 30))
    step = float(random.uniform(0.2, 9)) if random.random() < 0.8 else float(random.integers(1, 7))
    sampled = step > 5
    count = 6 if sampled else 2 if step < 1 else int(np.ceil(step)) + 1
    edges = random.uniform(-20, size) + step * np.arange(side)
    if random.random() < 0.2:
        edges = np.rint(edges)
    taps, weights = np.empty((side, count), np.int32), np.empty((side, count), np.float32)
    return [edges, step, size, sampled, taps, weights]


def cut_square(random: np.random.Generator, image: np.ndarray | None = None) -> Arguments:
    if image is None:
        image = random.integers(0, 256, (19, 23, int(random.choice([1, 3]))), dtype=np.uint8)
    edges, step, _, sampled, taps, _ = axis_taps(random)
    side, count = taps.shape
    left = float(edges[0])
    top = left if random.random() < 0.2 else float(random.uniform(-step * side, image.shape[0]))
    return [image, left, top, step, count, sampled, np.empty((side, side), np.float32)]


def run_cascade(random: np.random.Generator) -> Arguments:
    n, k, stages, pool, trees, depth, side = 9, int(random.integers(0, 5)), 3, 17, 6, 3, 24
    guesses = int(random.integers(1, 4))
    nodes = 2**depth - 1
    return [
        random.integers(0, 256, (side, side), dtype=np.uint8),
        random.normal(0, 8, 3 * n),
        random.normal(0, 0.3, (k, 3 * n)),
        random.uniform(0.5, 3, k),
        random.integers(0, n, (stages, pool), dtype=np.uint8),
        random.normal(0, 4, (stages, pool, 2)).astype(np.float32),
        random.integers(0, pool, (stages, trees, nodes, 2), dtype=np.uint16),
        random.normal(0, 1, (stages, trees, nodes)).astype(np.float32),
        random.integers(-127, 128, (stages, trees, nodes + 1, 6 + k), dtype=np.int8),
        random.uniform(1e-4, 1e-3, (stages, 6 + k)).astype(np.float32),
        4.0,
        np.stack([rotation_matrix(random) for _ in range(guesses)]),
        np.column_stack([random.uniform(0.3, 1.5, guesses), random.uniform(0, side, (guesses, 2))]),
        random.normal(0, 1, (guesses, k)),
    ]


def describe_points(random: np.random.Generator) -> Arguments:
    side, n, around, r = int(random.integers(2, 30)), 7, 5, int(random.integers(0, 4))
    angle = np.linspace(0, 2 * np.pi, int(random.integers(1, 7)), endpoint=False)
    crop = random.integers(0, 256, (24, 24), dtype=np.uint8)
    if random.random() < 0.2:
        crop[:, :12] = crop[0, 0]
    taps = random.dirichlet(np.ones(2 * r + 1)).astype(np.float32)
    return [
        crop,
        np.column_stack([random.normal(0, 1, (2, 2)), random.uniform(-5, 25, 2)]),
        side,
        np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32),
        taps,
        random.uniform(-5, side + 5, (n, 2)),
        random.normal(0, 4, (around, 2)).astype(np.float32),
        20.0,
        np.empty((n, around * len(angle)), np.float32),
    ]


def weigh_descriptors(random: np.random.Generator) -> Arguments:
    n, d, w = (int(k) for k in random.integers(1, 40, 3))
    return [
        random.uniform(0, 0.5, (n, d)).astype(np.float32),
        random.integers(-127, 128, (n, d, w), dtype=np.int8),
        random.uniform(1e-4, 1e-3, w).astype(np.float32),
        random.normal(0, 1, w).astype(np.float32),
        np.empty(w),
    ]


def run_layers(random: np.random.Generator) -> Arguments:
    image_side = side = int(random.integers(1, 40))
    inputs, table, weights, factors, biases = 1, [], [], [], []
    count = int(random.integers(1, 4))
    for i in range(count):
        residual = inputs > 1 and i + 1 < count and random.random() < 0.4
        if residual:
            kernel, stride, padding, outputs = 3, 1, 1, inputs
        else:
            kernel, stride, padding = (
                int(random.integers(1, 6)),
                int(random.integers(1, 4)),
                int(random.integers(0, 4)),
            )
            kernel = min(kernel, side + 2 * padding)
            outputs = 16 * int(random.integers(1, 8))
        table.append((kernel, stride, padding, outputs, int(residual), int(random.random() < 0.6)))
        # So that sums of many neither grow nor vanish; what is too great is tried, too.
        scale = random.choice((0.7, 1.4, 5.0)) / np.sqrt(kernel * kernel * inputs)
        own = random.integers(-127, 128, kernel * kernel * inputs * outputs, dtype=np.int8)
        weights.append(blocked(own, kernel, outputs))
        unit = random.uniform(0.5, 1.5, outputs) * scale / 73
        factors.append(unit if i + 1 < count else unit / LEVELS)
        biases.append(random.normal(0, 0.3 * LEVELS, outputs) / unit)
        side, inputs = (side + 2 * padding - kernel) // stride + 1, outputs
    return [
        random.integers(-LEVELS, LEVELS + 1, (image_side, image_side)).astype(np.int16),
        np.array(table, np.int32),
        np.concatenate(weights),
        np.concatenate(factors).astype(np.float32),
        np.concatenate(biases).astype(np.int32),
        # What is added may be far beyond what the next layer sees.
        (random.uniform(0.1, 3, count) * random.choice((1, 40), count)).astype(np.float32),
        np.empty(side * side * inputs, np.float32),
    ]


def look_at_faces(random: np.random.Generator, steps: int = 0) -> Arguments:
    modes, crops = int(random.integers(0, 5)), int(random.integers(1, 3))
    guesses = crops * int(random.integers(1, 4))
    # One look, and by itself no step after it: there what is found, which differs a little from the twin's,
    # may fall on the other side of a step of 1/32 px.
    while True:
        image, *numbers, out = run_layers(random)
        table = numbers[0]
        outputs = table[-1, 3]
        if out.size == outputs:
            break
    side = len(image)
    return [
        random.integers(0, 256, (crops, 24, 24, 1), dtype=np.uint8),
        float(random.uniform(30, 200)),
        1,
        4.0,
        float(random.uniform(0.5, 8)),
        *numbers,
        random.uniform(0.5, 20, modes),
        random.uniform(1, 40, modes),
        np.empty((1, 2, 3)),
        np.empty((1, side, side), np.float32),
        *steps_of(random, 9, int(random.integers(0, modes + 1)), steps),
        np.stack([rotation_matrix(random) for _ in range(guesses)]),
        np.column_stack([random.uniform(0.05, 0.5, guesses), random.uniform(0, 24, (guesses, 2))]),
        random.normal(0, 1, (guesses, modes)),
    ]


def refine_faces(random: np.random.Generator) -> Arguments:
    n, k, own, hidden, around = (
        int(number) for number in random.integers((3, 0, 1, 1, 1), (9, 4, 30, 40, 6))
    )
    crops = int(random.integers(1, 3))
    guesses = crops * int(random.integers(1, 3))
    image, *numbers, _ = run_layers(random)
    channels = numbers[0][-1, 3]

    def layer(*shape: int) -> Arguments:
        # Of outputs that are neither all lost nor far beyond what a face can be.
        unit = random.uniform(0.5, 1.5, (*shape[:-2], shape[-1])) / (73 * np.sqrt(shape[-2]))
        return [
            random.integers(-127, 128, shape, dtype=np.int8),
            unit.astype(np.float32),
            random.normal(0, 0.1, unit.shape).astype(np.float32),
        ]

    *last, bias = layer(n * own + hidden, 6 + k)
    return [
        random.integers(0, 256, (crops, 24, 24, 1), dtype=np.uint8),
        float(random.uniform(0.1, 2)),
        4.0,
        float(random.uniform(0.5, 8)),
        *numbers,
        random.normal(0, 4, (around, 2)),
        *layer(n, around * channels, own),
        *layer(n * own + k + 9, hidden),
        last[0],
        last[1] * np.float32(0.1),
        bias,
        random.normal(0, 8, 3 * n),
        random.normal(0, 0.3, (k, 3 * n)),
        random.uniform(0.5, 20, k),
        random.uniform(1, 40, k),
        np.empty((1, 2, 3)),
        np.empty((1, *image.shape), np.float32),
        np.stack([rotation_matrix(random) for _ in range(guesses)]),
        np.column_stack([random.uniform(0.3, 1.5, guesses), random.uniform(0, 24, (guesses, 2))]),
        random.normal(0, 1, (guesses, k + int(random.integers(0, 3)))),
    ]


def steps_of(random: np.random.Generator, n: int, k: int, count: int) -> Arguments:
    """Return steps as `take_steps` takes them."""
    directions, around = (int(number) for number in random.integers(1, (12, 4)))
    views, d = 3, around * directions
    angle = np.linspace(0, 2 * np.pi, directions, endpoint=False)
    lengths = [2 * int(r) - 1 for r in random.integers(1, 4, count)]
    taps = random.normal(0, 1, (count, 7)).astype(np.float32)
    for row, length in zip(taps, lengths, strict=True):
        row[:length] = random.dirichlet(np.ones(length))
    offsets = random.normal(0, 4, (count, around, 2)).astype(np.float32)
    if random.random() < 0.5:  # the same in the mirror
        offsets[:, around // 2, 0] = 0
        offsets[:, (around + 1) // 2 :] = offsets[:, : around // 2] * [-1, 1]
    patches = [(random.uniform(0.3, 1), random.integers(6, 30), 20.0, length) for length in lengths]
    return [
        random.normal(0, 8, 3 * n),
        random.normal(0, 0.3, (k, 3 * n)),
        random.uniform(0.5, 3, k),
        random.permutation(n).astype(np.int32),
        random.choice([-1.0, 1.0], 6 + k),
        np.radians([25.0, 50.0]),
        float(random.choice([0.0, random.uniform(0, 1)])),
        np.array(patches, np.float64).reshape(count, 4),
        np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32),
        taps,
        offsets,
        random.integers(-127, 128, (count, views, n, d, 6 + k), dtype=np.int8),
        random.uniform(1e-4, 1e-3, (count, views, 6 + k)).astype(np.float32),
        random.normal(0, 0.1, (count, views, 6 + k)).astype(np.float32),
    ]


def take_steps(random: np.random.Generator) -> Arguments:
    k, guesses = int(random.integers(0, 4)), int(random.integers(1, 4))
    crop = random.integers(0, 256, (24, 24), dtype=np.uint8)
    # One step: a second one, from where the first one leads, would make its differences larger in noise.
    return [
        crop,
        *steps_of(random, 9, k, 1),
        np.stack([rotation_matrix(random) for _ in range(guesses)]),
        np.column_stack([random.uniform(0.3, 1.5, guesses), random.uniform(0, 24, (guesses, 2))]),
        random.normal(0, 1, (guesses, k + int(random.integers(0, 3)))),
    ]


def filter_images(random: np.random.Generator) -> Arguments:
    count, channels, height, width = (int(n) for n in random.integers(1, (41, 21, 5, 5)))
    rows, columns = int(random.integers(height, height + 9)), int(random.integers(width, width + 27))
    images = random.normal(0, 1, (int(random.integers(1, 4)), rows, columns, channels)).astype(np.float32)
    weights = filters_in_blocks(random.normal(0, 1, (count, channels, height, width)).astype(np.float32))
    biases, slopes = random.normal(0, 1, (2, len(weights), FILTERS)).astype(np.float32)
    out = np.empty((len(images), rows - height + 1, columns - width + 1, count), np.float32)
    return [images, weights, biases, slopes, out]


def pool_images(random: np.random.Generator) -> Arguments:
    window = int(random.integers(1, 4))
    shape = tuple(int(n) for n in random.integers(1, (4, 14, 14, 20)))
    before = [int(n) for n in random.integers(0, window, 2)]
    # So many windows begin inside, or reach into the image from before it.
    most = [(n - 1 + b) // 2 + 1 for n, b in zip(shape[1:3], before, strict=True)]
    rows, columns = (int(random.integers(1, n + 1)) for n in most)
    images = random.normal(0, 1, shape).astype(np.float32)
    return [images, window, *before, np.empty((shape[0], rows, columns, shape[3]), np.float32)]


def shrink_image(random: np.random.Generator) -> Arguments:
    rows, columns, channels = (int(n) for n in random.integers(1, (60, 60, 5)))
    image = random.integers(0, 256, (rows, columns, channels), dtype=np.uint8)
    height, width = (int(random.integers(1, n + 1)) for n in (rows, columns))
    return [image, np.empty((height, width, channels), np.uint8)]


MAKERS: dict[str, Callable[..., Arguments]] = {
    "sample_areas": sample_areas,
    "sobel_magnitude": sobel_magnitude,
    "neuron_responses": neuron_responses,
    "apply_sigma": apply_sigma,
    "apply_folded_sigma": apply_folded_sigma,
    "response_maps": response_maps,
    "weigh_maps": weigh_maps,
    "deform": deform,
    "close_openings": close_openings,
    "mean_shift": mean_shift,
    "likelihoods": likelihoods,
    "jacobian": jacobian,
    "normal_equations": normal_equations,
    "solve": solve,
    "nu_rlms_pass": nu_rlms_pass,
    "fit_scale": fit_scale,
    "place_areas": place_areas,
    "turned_landmarks": turned_landmarks,
    "extent": extent,
    "perspective_pose": perspective_pose,
    "axis_taps": axis_taps,
    "average_areas": average_areas,
    "cut_square": cut_square,
    "mirror_faces": mirror_faces,
    "mirror_image": mirror_image,
    "mix_faces": mix_faces,
    "run_cascade": run_cascade,
    "describe_points": describe_points,
    "weigh_descriptors": weigh_descriptors,
    "run_layers": run_layers,
    "look_at_faces": look_at_faces,
    "refine_faces": refine_faces,
    "take_steps": take_steps,
    "filter_images": filter_images,
    "pool_images": pool_images,
    "shrink_image": shrink_image,
}

# Arguments besides the last that a kernel changes.
CHANGED = {
    "axis_taps": ("taps",),
    "fit_scale": ("maps", "weights", "offsets", "pose"),
    "look_at_faces": ("rotations", "placements"),
    "likelihoods": ("every",),
    "mirror_faces": ("rotations", "placements"),
    "mix_faces": ("apart", "rotations", "placements"),
    "nu_rlms_pass": ("pose", "shape"),
    "perspective_pose": ("rotation",),
    "refine_faces": ("rotations", "placements"),
    "run_cascade": ("rotations", "placements"),
    "take_steps": ("rotations", "placements"),
}
# Kernels that read their last argument as well.
READS_LAST = {
    "close_openings",
    "fit_scale",
    "look_at_faces",
    "mirror_faces",
    "mix_faces",
    "perspective_pose",
    "refine_faces",
    "run_cascade",
    "take_steps",
    "weigh_maps",
}


def arguments_of(name: str, random: np.random.Generator, *numbers: Any, **named: Any) -> dict[str, Any]:
    """Return random arguments of a kernel by their names, which are those of its twin, in their order."""
    return dict(
        zip(
            signature(getattr(_reference, name)).parameters,
            MAKERS[name](random, *numbers, **named),
            strict=True,
        )
    )


def copied(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: a.copy() if isinstance(a, np.ndarray) else a for key, a in arguments.items()}


def call(module: ModuleType, name: str, arguments: dict[str, Any]) -> tuple[Any, list[np.ndarray]]:
    """Return what a kernel returns and the arrays that it writes, on copies of what it may change."""
    last = list(arguments)[-1]
    written = {key: arguments[key].copy() for key in (*CHANGED.get(name, ()), last)}
    if name not in READS_LAST:
        written[last].fill(np.nan if written[last].dtype.kind == "f" else 255)
    returned = getattr(module, name)(*(arguments | written).values())
    return returned, list(written.values())


# Of some thousand networks of random numbers one leads out of all bounds, and the placement says so; faces
# without a size are infinitely far apart.
NOT_FINITE = {"extent", "likelihoods", "look_at_faces", "mix_faces"}


def assert_close(name: str, ours: list[np.ndarray], expected: list[np.ndarray]) -> None:
    relative, absolute = BOUNDS[name]
    for a, b in zip(ours, expected, strict=True):
        lost = ~np.isfinite(b)
        assert a.shape == b.shape and (name in NOT_FINITE or not lost.any())
        np.testing.assert_array_equal(a[lost], b[lost])
        off, bound = np.abs(a[~lost] - b[~lost]), relative * np.abs(b[~lost]).max(initial=0.0) + absolute
        assert (off <= bound).all(), (off.max(), bound)
