"""A small model that a script makes, pictures that it fits, and OpenFace's files of it.

The face is 68 points of plain geometry; every landmark is drawn as an oriented
pattern of its own. The experts are templates of that drawing, so that a fit on
a generated picture has a known answer: the landmarks that it was drawn from.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pyclnf.model import Model, Part
from pyclnf.patch_experts import GRADIENT, GREY, PatchScale, ViewExperts
from pyclnf.pdm import PDM, Parameters

SCALES = (0.25, 0.35, 0.5)
YAWS = (0, -20, -45, -70, 70, 45, 20)  # degrees
WINDOWS = (5, 7, 9, 11, 15)
SUPPORT = 11

# The pattern of a landmark: a wave under a Gaussian, mm.
PATTERN_SIGMA = 6.0
PATTERN_WAVELENGTH = 22.0


def mean_shape() -> np.ndarray:
    """Return the mean shape, (68, 3) mm: x right, y down, z away from the camera."""
    t = np.linspace(0, 1, 17)
    jaw = np.column_stack([-72 * np.cos(np.pi * t), -25 + 103 * np.sin(np.pi * t)])
    brow = np.column_stack([np.linspace(-58, -14, 5), -50 - 7 * np.sin(np.linspace(0.4, 2.9, 5))])
    bridge = np.column_stack([np.zeros(4), np.linspace(-33, 0, 4)])
    nostrils = np.column_stack([np.linspace(-15, 15, 5), [10, 12, 14, 12, 10]])
    eye = ellipse((-33, -30), (14, 5.5), np.radians([180, 240, 300, 0, 60, 120]))
    outer = ellipse((0, 40), (27, 11), np.radians(np.arange(180, 540, 30)))
    inner = ellipse((0, 40), (21, 4), np.radians(np.arange(180, 540, 45)))
    xy = np.vstack(
        [
            jaw,
            brow,
            mirrored(brow)[::-1],
            bridge,
            nostrils,
            eye,
            mirrored(eye)[[3, 2, 1, 0, 5, 4]],
            outer,
            inner,
        ]
    )
    x, y = xy.T
    z = 50 * (x / 72) ** 2 + 12 * (y / 78) ** 2 - 6
    z[27:36] -= [6, 14, 22, 30, 12, 16, 18, 16, 12]  # the nose stands out
    shape = np.column_stack([x, y, z])
    return shape - shape.mean(axis=0)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], angles: np.ndarray) -> np.ndarray:
    return np.asarray(centre) + np.column_stack([np.cos(angles), np.sin(angles)]) * radii


def mirrored(points: np.ndarray) -> np.ndarray:
    return points * (-1, 1)


def generate_pdm(mean: np.ndarray | None = None) -> PDM:
    """Return a PDM with eight smooth modes, one of them asymmetric, none of them a rigid motion."""
    mean = mean_shape() if mean is None else mean
    x, y, z = mean.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    lower = 1 / (1 + np.exp(-(y - 35) / 6))  # lower lip and chin
    upper = 1 / (1 + np.exp((y + 35) / 6))  # brows
    mouth = np.exp(-((y - 40) ** 2) / 300 - x**2 / 900)
    deformations = [
        (x, zero, zero),  # width
        (zero, zero, z),  # depth
        (zero, lower, zero),  # open mouth
        (zero, upper, zero),  # raised brows
        (x * mouth, zero, zero),  # smile
        (zero, np.abs(x) / 50 * mouth, zero),  # corners of the mouth
        (mouth, np.tanh(x / 20) * upper, zero),  # asymmetric: mouth aside, one brow up
        (zero, zero, mouth),  # pursed lips
    ]
    rigid = [(one, zero, zero), (zero, one, zero), (zero, zero, one), (x, y, z)]
    rigid += [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
    columns = np.array([np.concatenate(motion) for motion in rigid + deformations]).T
    basis, _ = np.linalg.qr(columns)
    return PDM(mean.T.reshape(-1), basis[:, len(rigid) :], 600.0 * 0.7 ** np.arange(len(deformations)))


def visible_landmarks(mean: np.ndarray) -> np.ndarray:
    """Return which landmarks each view sees, (7, n) bool: the profiles see the half that faces the camera."""
    yaws = np.array(YAWS)[:, None]
    return (np.abs(yaws) < 60) | (mean[:, 0] * np.sign(yaws) >= -1)


def generate_image(
    model: Model, parameters: Parameters, shape: tuple[int, int] = (320, 320), *, seed: int = 0
) -> np.ndarray:
    """Return a picture, (h, w) uint8, of the face at some parameters.

    The true landmarks are ``model.pdm.landmarks_2d(parameters)``.
    """
    picture = draw(model.pdm.landmarks_2d(parameters), parameters.pose[0], parameters.pose[3], shape)
    noise = np.random.default_rng(seed).normal(0, 1.5, shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def draw(
    landmarks: np.ndarray,
    scale: float,
    roll: float,
    shape: tuple[int, int],
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """Return the drawing, (h, w) float64 grey levels, of landmarks at a scale (px per mm) and a roll."""
    picture = np.full(shape, 120.0)
    reach = int(np.ceil(4 * PATTERN_SIGMA * scale))
    # The patterns belong to the landmarks' numbers, not to a seed: model and picture must agree.
    random = np.random.default_rng(68)
    angles, phases = random.uniform(0, np.pi, len(landmarks)), random.uniform(0, 2 * np.pi, len(landmarks))
    near = ((landmarks > -reach) & (landmarks < np.array(shape[::-1]) + reach)).all(axis=1)
    for i in np.flatnonzero(near if visible is None else near & visible):
        x, y = landmarks[i]
        left, top = max(int(x) - reach, 0), max(int(y) - reach, 0)
        part = picture[top : max(int(y) + reach, 0), left : max(int(x) + reach, 0)]
        rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
        dx, dy = (columns - x) / scale, (rows - y) / scale
        along = np.cos(angles[i] + roll) * dx + np.sin(angles[i] + roll) * dy
        envelope = np.exp(-(dx**2 + dy**2) / (2 * PATTERN_SIGMA**2))
        part += 45 * envelope * np.cos(2 * np.pi * along / PATTERN_WAVELENGTH + phases[i])
    return picture


def gradient_magnitude(picture: np.ndarray) -> np.ndarray:
    """Return the Sobel gradient magnitude, the border replicated."""
    p = np.pad(picture, 1, mode="edge")
    smooth_y, smooth_x = p[:-2] + 2 * p[1:-1] + p[2:], p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    return np.hypot(smooth_y[:, 2:] - smooth_y[:, :-2], smooth_x[2:] - smooth_x[:-2])


def sigma_components(window: int) -> np.ndarray:
    """Return three graph Laplacians, (3, w*w, w*w), that tie neighbours in a row, a column and diagonally."""
    rows, columns = np.divmod(np.arange(window**2), window)
    dy, dx = np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns)
    neighbours = np.array([(dy == 0) & (dx == 1), (dy == 1) & (dx == 0), (dy == 1) & (dx == 1)], np.float32)
    return neighbours.sum(axis=2, keepdims=True) * np.eye(window**2, dtype=np.float32) - neighbours


def generate_view(
    pdm: PDM, scale: float, yaw: float, visible: np.ndarray, random: np.random.Generator
) -> ViewExperts:
    """Return the experts of a view: templates of the drawing of the mean shape."""
    pose = np.array([scale, 0, np.radians(yaw), 0, 60, 60])
    landmarks = pdm.landmarks_2d(Parameters(pose, np.zeros(pdm.n_modes)))
    indices = np.flatnonzero(visible)
    v, half = len(indices), SUPPORT // 2
    types = np.tile(np.array([GREY, GRADIENT, GREY], np.int32), (v, 1))
    alphas = np.tile([3.0, 1.5, 1.0], (v, 1))
    alphas[::3, 2] = 0.0  # every third expert has two neurons
    weights = np.zeros((v, 3, SUPPORT, SUPPORT))
    for row, i in enumerate(indices):
        # The landmark is put on a pixel's centre, so that the template is symmetric about it.
        shifted = landmarks - landmarks[i] + (half + 1)
        side = 2 * half + 3
        picture = draw(shifted, scale, 0.0, (side, side))
        inside = np.s_[1:-1, 1:-1]
        weights[row, 0] = picture[inside]
        weights[row, 1] = gradient_magnitude(picture)[inside]
        weights[row, 2] = draw(shifted, scale, 0.0, (side, side), np.arange(len(shifted)) == i)[inside]
    weights -= weights.mean(axis=(2, 3), keepdims=True)
    weights /= np.sqrt((weights**2).sum(axis=(2, 3), keepdims=True))
    weights += random.normal(0, 0.005, weights.shape)
    weights[alphas == 0] = 0
    return ViewExperts(
        landmarks=indices.astype(np.int32),
        types=types,
        weights=weights.astype(np.float32),
        norm_weights=np.where(alphas > 0, random.uniform(14, 18, (v, 3)), 0),
        biases=np.where(alphas > 0, random.uniform(-13, -11, (v, 3)), 0),
        alphas=alphas,
        betas=random.uniform(0.1, 0.3, (v, 3)),
        confidences=random.uniform(0.5, 0.9, v),
    )


def generate_scale(pdm: PDM, scale: float, random: np.random.Generator) -> PatchScale:
    visible = visible_landmarks(pdm.mean.reshape(3, -1).T)
    centres = np.radians([[0.0, yaw, 0.0] for yaw in YAWS])
    views = [generate_view(pdm, scale, yaw, row, random) for yaw, row in zip(YAWS, visible, strict=True)]
    return PatchScale(scale, centres, visible, {w: sigma_components(w) for w in WINDOWS}, views)


def generate_model(seed: int = 0, *, parts: bool = False) -> Model:
    """Return the model; the same seed gives the same model.

    With *parts* it has one part model, of the 51 landmarks without the jaw, at scale 1.
    """
    random = np.random.default_rng(seed)
    pdm = generate_pdm()
    face = Model(
        pdm,
        [generate_scale(pdm, scale, random) for scale in SCALES],
        triangles=np.array([[36, 39, 30], [42, 45, 30], [48, 54, 8]], np.int32),
        name="generated",
        metadata={"licence": "MIT", "seed": seed},
        arrays={"extra/rotations": np.zeros((1, 3)), "confidence/threshold": np.array(0.5)},
    )
    if not parts:
        return face
    inner = generate_pdm(mean_shape()[17:])
    mapping = np.column_stack([np.arange(17, 68), np.arange(51)]).astype(np.int32)
    part = Part("inner", Model(inner, [generate_scale(inner, 1.0, random)], name="inner"), mapping)
    return Model(
        pdm,
        face.scales,
        parts=[part],
        triangles=face.triangles,
        name=face.name,
        metadata=face.metadata,
        arrays=face.arrays,
    )


def tiny_model(seed: int = 0) -> Model:
    """Return a model of four landmarks in two views, for tests of its files byte by byte."""
    random = np.random.default_rng(seed)
    visible = np.array([[True, True, True, True], [True, False, True, False]])
    views = []
    for row in visible:
        v = int(row.sum())
        alphas = random.uniform(1, 2, (v, 2))
        alphas[1, 1] = 0  # an expert with one neuron
        used = alphas > 0
        views.append(
            ViewExperts(
                landmarks=np.flatnonzero(row).astype(np.int32),
                types=np.where(used, [GREY, GRADIENT], GREY).astype(np.int32),
                weights=(random.normal(size=(v, 2, 3, 3)) * used[:, :, None, None]).astype(np.float32),
                norm_weights=random.normal(size=(v, 2)) * used,
                biases=random.normal(size=(v, 2)) * used,
                alphas=alphas,
                betas=random.uniform(size=(v, 3)),
                confidences=random.uniform(size=v),
            )
        )
    centres = np.radians([[0.0, 0, 0], [0, 45, 0]])
    scale = PatchScale(0.25, centres, visible, {w: sigma_components(w) for w in (1, 3)}, views)
    components, _ = np.linalg.qr(random.normal(size=(12, 2)))
    pdm = PDM(random.normal(0, 50, 12), components, [20.0, 10.0])
    return Model(pdm, [scale], triangles=np.array([[0, 1, 2]], np.int32), name="tiny")


# --- OpenFace's files


def write_openface(model: Model, folder: Path, newline: str = "\n") -> Path:
    """Write the model as OpenFace would and return the main file."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["LandmarkDetector clnf.txt"]
    for part in model.parts:
        write_openface(part.model, folder / part.name, newline)
        pairs = " ".join(str(i) for i in part.mapping.reshape(-1))
        lines.append(f"LandmarkDetector_part {part.name}\\main_clnf_general.txt {part.name} {pairs}")
    lines += ["FaceDetConversion missing.txt", "DetectionValidator missing/validator.txt"]
    main = folder / "main_clnf_general.txt"
    main.write_text(newline.join(lines), newline="")
    (folder / "data").mkdir(exist_ok=True)
    entries = ["PDM data/pdm.txt", "Triangulations data/triangles.txt"]
    (folder / "data/pdm.txt").write_bytes(pdm_text(model.pdm, newline).encode())
    if model.triangles is not None:
        triangles = f"# triangulations\n1\n# one\n{text_matrix(model.triangles, 4)}"
        (folder / "data/triangles.txt").write_bytes(triangles.encode())
    for scale in model.scales:
        (folder / f"data/patches_{scale.scale}.bin").write_bytes(ccnf_bytes(scale))
        entries.append(f"PatchesCCNF data\\patches_{scale.scale}.bin")
    (folder / "clnf.txt").write_text(newline.join(entries) + newline, newline="")
    return main


def text_matrix(matrix: np.ndarray, code: int) -> str:
    values = "\n".join(" ".join(repr(value) for value in row) for row in matrix.tolist())
    return f"{matrix.shape[0]}\n{matrix.shape[1]}\n{code}\n{values}\n"


def pdm_text(pdm: PDM, newline: str = "\n") -> str:
    matrices = [pdm.mean[:, None], pdm.components, pdm.eigenvalues[None]]
    return "".join(f"# comment\n{text_matrix(m, 6)}" for m in matrices).replace("\n", newline)


def ccnf_bytes(scale: PatchScale) -> bytes:
    """Return OpenFace's binary file of a scale; neurons with alpha 0 are left out."""

    def int32(*values: int) -> bytes:
        return np.array(values, "<i4").tobytes()

    def float64(values: object) -> bytes:
        return np.asarray(values, "<f8").tobytes()

    out = [float64(scale.scale), int32(scale.n_views)]
    out += [int32(3, 1, 6) + float64(np.degrees(centre)) for centre in scale.centres]
    out += [int32(scale.n_landmarks, 1, 4) + row.astype("<i4").tobytes() for row in scale.visible]
    out.append(int32(len(scale.sigma_components)))
    for window, components in scale.sigma_components.items():
        out.append(int32(window, len(components)))
        out += [int32(window**2, window**2, 5) + c.astype("<f4").tobytes() for c in components]
    for j in range(scale.n_views):
        view = scale.view(j)
        height, width = view.weights.shape[2:]
        row_of = {int(landmark): row for row, landmark in enumerate(view.landmarks)}
        for i in range(scale.n_landmarks):
            if i not in row_of:
                out.append(int32(5, width, height, 0, 0))
                continue
            row = row_of[i]
            neurons = np.flatnonzero(view.alphas[row])
            out.append(int32(5, width, height, len(neurons)))
            for k in neurons:
                out.append(int32(2, view.types[row, k]))
                out.append(float64([view.norm_weights[row, k], view.biases[row, k], view.alphas[row, k]]))
                out.append(int32(height, width, 5) + view.weights[row, k].astype("<f4").tobytes())
            out.append(float64(view.betas[row]) + float64(view.confidences[row]))
    return b"".join(out)
