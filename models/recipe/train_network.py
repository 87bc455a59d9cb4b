"""Train the network of the learned start, and the linear steps that follow it (needs PyTorch).

The network learns to see pose and shape in a patch about a disturbed box, or about a face that has been
found roughly. Its loss is the distance of the landmarks that they give. The last state is kept in WORK, from
where the same command goes on.

    python train_network.py RENDERS [RENDERS...] MODEL.npz WORK OUT.npz
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import queue
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dataset import Dataset, eye_distances, load_dataset, one_sided
from numpy.typing import NDArray
from photo import noise, relight_around
from scipy.spatial.transform import Rotation
from tqdm import tqdm
from train_model import annotated, training_config

from pyclnf import Model
from pyclnf._kernels.layout import CHANNELS
from pyclnf.descent import mode_signs
from pyclnf.network import MIN_CONTRAST, weight_units
from pyclnf.pdm import PDM
from pyclnf.training import MIRROR_68, AnnotatedFaces, held_out, refine_start

try:
    import torch
    from torch import Tensor, nn
except ModuleNotFoundError as error:
    raise SystemExit("train_network.py needs PyTorch: pip install torch") from error

Array = NDArray[Any]


@dataclass(frozen=True)
class Phase:
    """A phase of the training; each goes on from the mean weights of the one before."""

    epochs: int
    rate: float
    sided: float
    palsy: int


@dataclass(frozen=True)
class NetworkConfig:
    """The table [training.network]; what is not said here is said there."""

    side: int
    length: float
    looks: int
    widths: tuple[int, ...]
    repeats: tuple[int, ...]
    batch: int
    decay: float
    box_share: float
    box: tuple[float, float, float]
    near: tuple[float, float, float]
    phases: tuple[Phase, ...]
    steps_palsy: int
    seed: int

    def __post_init__(self) -> None:
        if any(width % CHANNELS for width in self.widths):  # known before the training, not after it
            raise ValueError(f"the network's widths are multiples of {CHANNELS}, not {self.widths}")


# --- samples


class Samples:
    """Patches of faces with what is to be seen in them."""

    def __init__(self, data: Dataset, faces: AnnotatedFaces, pdm: PDM, config: NetworkConfig) -> None:
        self.config, self.pdm = config, pdm
        # Half the size, which is still finer than a patch.
        self.pictures = np.stack(
            [
                cv2.resize(data.image(i, grey=True), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                for i in range(len(data))
            ]
        )
        self.landmarks = (data.landmarks.astype(np.float64) + 0.5) / 2 - 0.5
        found = [faces.parameters(i) for i in range(len(data))]
        self.scales = np.array([one.pose[0] for one in found]) / 2
        self.places = (np.array([one.pose[4:6] for one in found]) + 0.5) / 2 - 0.5
        self.rotations = np.array([one.rotation for one in found])
        self.shapes = np.array([one.shape for one in found]) / np.sqrt(pdm.eigenvalues)
        self.units = eye_distances(data) / 2
        self._signs = mode_signs(pdm.components, MIRROR_68)
        self.palsy = one_sided(data)

    def draw(self, i: int, rng: np.random.Generator) -> tuple[Array, Array, Array, np.float32]:
        """Return a patch, the landmarks from its middle, px, the numbers wanted, and the eye distance, px."""
        config = self.config
        picture, landmarks = self.pictures[i], self.landmarks[i]
        scale, place, rotation, shape = self.scales[i], self.places[i], self.rotations[i], self.shapes[i]
        if rng.random() < 0.5:
            last, flip = picture.shape[1] - 1, np.diag([-1.0, 1.0, 1.0])
            picture = np.ascontiguousarray(picture[:, ::-1])
            landmarks = landmarks[MIRROR_68] * [-1, 1] + [last, 0]
            place, rotation = place * [-1, 1] + [last, 0], flip @ rotation @ flip
            shape = shape * self._signs
        roll = rng.normal(0, np.radians(config.near[2]))
        if rng.random() < config.box_share:
            about, centre = self._boxed(landmarks, rng)
        else:
            about = scale * np.exp(rng.normal(0, config.near[0]))
            centre = place + scale * rng.normal(0, config.near[1], 2)
            roll += np.arctan2(-rotation[0, 1], rotation[1, 1])
        c, s = np.cos(roll), np.sin(roll)
        turn, step, middle = (
            np.array([[c, -s], [s, c]]),
            config.length * about / config.side,
            (config.side - 1) / 2,
        )
        matrix = np.column_stack([step * turn, centre - step * turn @ np.full(2, middle)])
        border = (cv2.BORDER_CONSTANT, cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (config.side, config.side)
        patch = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=border[rng.integers(4)])
        other = self.pictures[rng.integers(len(self.pictures))] if rng.random() < 0.5 else None
        points = (landmarks - centre) @ turn / step
        if rng.random() < 0.4:
            patch = relight_around(patch, points + middle, rng)
        patch = vary_patch(patch, other, rng)
        upright = np.eye(3)
        upright[:2, :2] = turn.T
        wanted = np.concatenate(
            [
                [np.log(scale / about)],
                Rotation.from_matrix(upright @ rotation).as_rotvec(),
                turn.T @ (place - centre) / about / config.length,
                shape,
            ]
        )
        unit = np.float32(self.units[i] / step)
        return patch, points.astype(np.float32), wanted.astype(np.float32), unit

    def _boxed(self, landmarks: Array, rng: np.random.Generator) -> tuple[float, Array]:
        """Return scale and place of the mean shape in a disturbed box."""
        shift, size, aspect = self.config.box
        low, extent = landmarks.min(axis=0), np.ptp(landmarks, axis=0)
        centre = low + extent / 2 + rng.normal(0, shift, 2) * extent
        wide = np.exp(rng.normal(0, aspect))
        extent = extent * np.exp(rng.normal(0, size)) * [wide, 1 / wide]
        scale, x, y = self.pdm.placement(*(centre - extent / 2), *extent)
        return float(scale), np.array([x, y])


def vary_patch(patch: Array, other: Array | None, rng: np.random.Generator) -> Array:
    """Vary a patch: shadows, texture, sharpness, tone, noise, and something (of another picture) in front."""
    side = len(patch)
    x = patch.astype(np.float32)
    across = np.arange(side, dtype=np.float32) - (side - 1) / 2
    if rng.random() < 0.35:
        angle = rng.uniform(0, 2 * np.pi)
        edge = (across - rng.uniform(-25, 25)) * np.cos(angle)
        edge = edge + ((across - rng.uniform(-25, 25)) * np.sin(angle))[:, None]
        edge = edge + noise(x.shape, int(rng.integers(6, 20)), rng) * rng.uniform(0, 5)
        soft, dark = np.exp(rng.uniform(-1, 3)), rng.uniform(0.25, 0.85)
        x = x * np.float32(dark + (1 - dark) / (1 + np.exp(-np.clip(edge / soft, -30, 30))))
    if rng.random() < 0.5:
        for step, most in ((1, 0.06), (2, 0.05), (4, 0.05), (10, 0.06)):
            x = x * (1 + noise(x.shape, step, rng) * np.float32(rng.uniform(0, most)))
    kind = rng.random()
    if kind < 0.35:
        sigma = rng.uniform(0.6, 1.6)
        x = x + np.float32(rng.uniform(0.3, 1.5)) * (x - cv2.GaussianBlur(x, (0, 0), sigma))
    elif kind < 0.6:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.5))
    elif kind < 0.7:
        small = int(side * rng.uniform(0.35, 0.8))
        x = cv2.resize(cv2.resize(x, (small, small), interpolation=cv2.INTER_AREA), (side, side))
    if rng.random() < 0.12:
        kernel = rng.normal(0, 0.25, (3, 3)).astype(np.float32)
        kernel[1, 1] += 1 - kernel.sum()
        x = cv2.filter2D(x, -1, kernel)
    y = np.clip(x / 255, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.35)))
    y = y + np.float32(rng.uniform(0, 0.03)) * rng.standard_normal(y.shape, np.float32)
    if other is not None and rng.random() < 0.3:
        mask = _place(side, rng)
        if rng.random() < 0.5:
            cut = cv2.resize(other[20:108, 20:108], (side, side)).astype(np.float32) / 255
            front = np.roll(cut, tuple(rng.integers(0, side, 2)), (0, 1))
        else:
            grain = noise(y.shape, int(rng.integers(1, 12)), rng)
            front = np.float32(rng.uniform(0, 1)) + np.float32(rng.uniform(0, 0.2)) * grain
        y = y * (1 - mask) + front * mask
    return np.asarray(255 * np.clip(y, 0, 1), np.float32)


def _place(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return how far something covers each pixel, an ellipse or a rectangle."""
    width, height = (int(n) for n in rng.integers(8, 34, 2))
    left, top = (int(n) for n in rng.integers(-6, side - 4, 2))
    mask = np.zeros((side, side), np.float32)
    if rng.random() < 0.5:
        centre, axes = (left + width // 2, top + height // 2), (width // 2, height // 2)
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    else:
        mask[max(top, 0) : top + height, max(left, 0) : left + width] = 1
    return cv2.GaussianBlur(mask, (0, 0), 1.0) if rng.random() < 0.5 else mask


def _draw_batches(samples: Samples, chosen: Array, phase: Phase, epochs: range, batches: Any) -> None:
    """Put the batches of some epochs into a queue; runs in a process of its own."""
    cv2.setNumThreads(1)
    size = samples.config.batch
    # So many times as often as the others.
    more = np.repeat(chosen, np.where(samples.palsy[chosen], phase.palsy, 1))
    for epoch in epochs:
        rng = np.random.default_rng([samples.config.seed, phase.epochs, epoch])
        order = rng.permutation(more)[: len(chosen)]
        for first in range(0, len(order) - size + 1, size):
            rows = [samples.draw(int(i), rng) for i in order[first : first + size]]
            batches.put([np.stack(column) for column in zip(*rows, strict=True)])


def _next_batch(batches: Any, source: multiprocessing.process.BaseProcess) -> list[Array]:
    """Return the next batch of a process, and wait for none that cannot come."""
    while True:
        alive = source.is_alive()  # before the look: it may end with its last batch on the way
        try:
            found: list[Array] = batches.get(timeout=5)
            return found
        except queue.Empty:
            if not alive:
                raise RuntimeError("the process that draws the samples has ended before its time") from None


# --- the network


class Block(nn.Module):
    """A convolution, normalised over the batch, to which what it sees may be added."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Return the rectified result (N, outputs, h, w) for images (N, inputs, H, W)."""
        y: Tensor = self.bn(self.conv(x))
        return torch.relu(y + x if self.residual else y)


class StartNetwork(nn.Module):
    """Convolutions that halve the patch, each followed by some that keep its size, and a linear end."""

    def __init__(self, config: NetworkConfig, outputs: int) -> None:
        super().__init__()
        widths, side = config.widths, config.side
        blocks = [Block(1, widths[0], 5, 2, False)]
        side = (side + 1) // 2
        for before, width, repeats in zip(widths, widths[1:], config.repeats, strict=False):
            blocks.append(Block(before, width, 3, 2, False))
            blocks += [Block(width, width, 3, 1, True) for _ in range(repeats)]
            side = (side + 1) // 2
        self.body = nn.Sequential(*blocks)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(widths[-1] * side * side, outputs)
        nn.init.zeros_(self.fc.bias)
        self.fc.weight.data *= 0.3
        self.last_side = side

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers (N, outputs) that are seen in patches (N, side, side)."""
        seen = self.normalised(x).contiguous(memory_format=torch.channels_last)
        y: Tensor = self.fc(self.drop(self.body(seen).flatten(1)))
        return y

    def normalised(self, x: Tensor) -> Tensor:
        """Return patches (N, side, side) as the first layer sees them, (N, 1, side, side)."""
        middle, contrast = x.mean((1, 2), keepdim=True), x.std((1, 2), keepdim=True, unbiased=False)
        return ((x - middle) / (contrast + MIN_CONTRAST))[:, None]

    def limits(self, patches: Tensor) -> list[float]:
        """Return what each layer sees at most; of patches (N, side, side) that are not one in a thousand."""
        found, seen = [], self.normalised(patches)
        with torch.no_grad():
            for block in (*self.body, nn.Identity()):
                found.append(float(seen.abs().flatten(1).amax(1).quantile(0.999)))
                seen = block(seen)
        return found

    def arrays(self, config: NetworkConfig, patches: Tensor) -> dict[str, Array]:
        """Return the arrays of `pyclnf.network.Network`, the normalisation folded into the weights.

        The limits of its numbers are those of the patches (N, side, side).
        """
        table, weights, units, biases = [], [], [], []
        limits = np.array(self.limits(patches), np.float32)

        def add(weight: Tensor, bias: Tensor, *numbers: int) -> None:
            kernel, outputs = weight.shape[2], weight.shape[0]
            flat = weight.permute(2, 3, 1, 0).reshape(-1, outputs).numpy()
            unit = weight_units(flat, bias.numpy(), float(limits[len(table)]))
            weights.append(np.rint(flat / unit).astype(np.int8).reshape(-1))
            units.append(unit)
            biases.append(bias.numpy())
            table.append((kernel, numbers[0], numbers[1], outputs, *numbers[2:]))

        with torch.no_grad():
            for block in self.body:
                gain = block.bn.weight.double() / torch.sqrt(block.bn.running_var.double() + block.bn.eps)
                bias = block.bn.bias.double() - block.bn.running_mean.double() * gain
                (stride, _), (padding, _) = block.conv.stride, block.conv.padding
                folded = block.conv.weight.double() * gain[:, None, None, None]
                add(folded, bias, stride, padding, int(block.residual), 1)
            outputs, side = self.fc.out_features, self.last_side
            # The kernel gives sixteen numbers at once.
            more = -outputs % 16
            last = self.fc.weight.double().reshape(outputs, -1, side, side)
            last = torch.cat([last, torch.zeros(more, *last.shape[1:], dtype=torch.double)])
            add(last, torch.cat([self.fc.bias.double(), torch.zeros(more, dtype=torch.double)]), 1, 0, 0, 0)
        return {
            "start/network_patch": np.array([config.side, config.length, config.looks], np.float32),
            "start/network_layers": np.array(table, np.int32),
            "start/network_limits": limits,
            "start/network_weights": np.concatenate(weights),
            "start/network_units": np.concatenate(units).astype(np.float32),
            "start/network_biases": np.concatenate(biases).astype(np.float32),
        }


def rotation(vector: Tensor) -> Tensor:
    """Return the rotations (N, 3, 3) about vectors (N, 3), by their lengths."""
    angle = torch.sqrt((vector**2).sum(1, keepdim=True) + 1e-12)
    x, y, z = (vector / angle).unbind(1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    angle = angle[..., None]
    return torch.eye(3) + torch.sin(angle) * K + (1 - torch.cos(angle)) * (K @ K)


def projected(numbers: Tensor, mean: Tensor, components: Tensor, config: NetworkConfig) -> Tensor:
    """Return the landmarks (N, 68, 2) in the patch, px from its middle."""
    R = rotation(numbers[:, 1:4])
    shapes = (mean + numbers[:, 6:] @ components.T).reshape(len(numbers), 3, -1)
    scale = config.side / config.length * torch.exp(numbers[:, 0])
    flat = scale[:, None, None] * (R[:, :2] @ shapes).transpose(1, 2)
    return flat + config.side * numbers[:, None, 4:6]


def sides() -> Tensor:
    """Return sums of landmarks (7, 68): openings of the eyes, heights of the brows, and their differences."""
    sums = torch.zeros(7, 68)
    for eye, (lower, upper) in enumerate((((40, 41), (37, 38)), ((46, 47), (43, 44)))):
        sums[eye, list(lower)], sums[eye, list(upper)] = 0.5, -0.5
        sums[2 + eye, 36 + 6 * eye : 42 + 6 * eye] = 1 / 6
        sums[2 + eye, 17 + 5 * eye : 22 + 5 * eye] = -1 / 5
    sums[4, 54], sums[4, 48] = 1, -1
    sums[5], sums[6] = sums[0] - sums[1], sums[2] - sums[3]
    return sums


def train(
    samples: Samples,
    chosen: Array,
    watched: Array,
    config: NetworkConfig,
    phase: Phase,
    begin: StartNetwork | None,
    state: Path,
    origin: str,
) -> StartNetwork:
    """Return the running mean of the network's weights at the end of a phase.

    Raises
    ------
    ValueError
        If the state that is kept is of another origin, see `origin_of`.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(1)  # the samples need another core
    pdm = samples.pdm
    mean = torch.tensor(pdm.mean, dtype=torch.float32)
    components = torch.tensor(pdm.components * np.sqrt(pdm.eigenvalues), dtype=torch.float32)
    net, kept = (StartNetwork(config, 6 + pdm.n_modes) for _ in range(2))
    if begin is not None:
        net.load_state_dict(begin.state_dict())
    kept.load_state_dict(net.state_dict())
    sums = sides()
    # Where the processor has no instructions for bfloat16 it takes five times as long as float32.
    short = torch.backends.cpu.get_cpu_capability() == "AVX512"
    batches = len(chosen) // config.batch
    optimiser = torch.optim.AdamW(net.parameters(), lr=phase.rate, weight_decay=config.decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, phase.rate, total_steps=batches * phase.epochs, pct_start=0.08
    )
    saved = {"net": net, "opt": optimiser, "sched": rates, "ema": kept}
    first = 0
    if state.exists():
        found = torch.load(state)
        if found.get("origin") != origin:
            raise ValueError(f"{state} is of a training with other pictures or numbers: give another folder")
        first = found["epoch"]
        torch.set_rng_state(found["random"])
        for name, what in saved.items():
            what.load_state_dict(found[name])
    # Forked, it could inherit a lock that a thread of PyTorch holds for ever.
    context = multiprocessing.get_context("spawn")
    drawn = context.Queue(24)
    source = context.Process(
        target=_draw_batches, args=(samples, chosen, phase, range(first, phase.epochs), drawn), daemon=True
    )
    source.start()
    for epoch in tqdm(range(first, phase.epochs), initial=first, total=phase.epochs, desc=state.stem):
        net.train()
        for batch in range(batches):
            patches, points, wanted, unit = map(torch.from_numpy, _next_batch(drawn, source))
            with torch.autocast("cpu", torch.bfloat16, enabled=short):
                said = net(patches)
            said = said.float()
            error = projected(said, mean, components, config) - points
            loss = _length(error, unit).mean()
            if phase.sided:
                loss = loss + phase.sided * _length(sums @ error, unit).mean()
            # A little for what the picture does not show: depth, and modes that hardly move the landmarks.
            off = said - wanted
            loss = loss + 0.06 * off[:, 1:4].abs().mean() + 0.006 * torch.sqrt(off[:, 6:] ** 2 + 0.01).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            rates.step()
            done = epoch * batches + batch
            share = min(0.999, (1 + done) / (10 + done))
            with torch.no_grad():
                for mine, new in zip(kept.state_dict().values(), net.state_dict().values(), strict=True):
                    mine.lerp_(new, 1 - share) if mine.is_floating_point() else mine.copy_(new)
        partial = state.with_suffix(".part")
        position = {"epoch": epoch + 1, "random": torch.get_rng_state(), "origin": origin}
        torch.save({name: what.state_dict() for name, what in saved.items()} | position, partial)
        partial.replace(state)
        if epoch % 10 == 9 or epoch + 1 == phase.epochs:
            tqdm.write(f"epoch {epoch + 1}: {_watch(kept, samples, watched, mean, components)}")
    source.join()
    kept.eval()
    return kept


def origin_of(samples: Samples, chosen: Array, config: NetworkConfig, phase: int) -> str:
    """Return what tells the state of a phase from that of another training."""
    until = replace(config, phases=config.phases[: phase + 1])
    digest = hashlib.sha256(samples.landmarks[chosen].tobytes() + samples.pdm.components.tobytes())
    return f"{until} {digest.hexdigest()}"


def trained(samples: Samples, aside: Array, config: NetworkConfig, work: Path) -> dict[str, Array]:
    """Return the arrays of a network that has gone through all phases; who is put aside is only watched.

    Raises
    ------
    ValueError
        If there are too few pictures, or *work* holds the state of another training.
    """
    chosen, watched = np.flatnonzero(~aside), np.flatnonzero(aside)[:600]
    if len(chosen) < config.batch:
        raise ValueError(f"{len(chosen)} pictures to learn from do not fill a batch of {config.batch}")
    work.mkdir(parents=True, exist_ok=True)
    net: StartNetwork | None = None
    for i, phase in enumerate(config.phases):
        origin = origin_of(samples, chosen, config, i)
        net = train(samples, chosen, watched, config, phase, net, work / f"network_{i}.pt", origin)
    assert net is not None
    rng = np.random.default_rng(config.seed)
    drawn = rng.choice(chosen, 4000)
    return net.arrays(config, torch.from_numpy(np.stack([samples.draw(int(i), rng)[0] for i in drawn])))


def _length(errors: Tensor, unit: Tensor) -> Tensor:
    """Return lengths of errors (N, k, 2) over the eye distance, rounded off near 0."""
    return torch.sqrt((errors**2).sum(2) / unit[:, None] ** 2 + 1e-4)


def _watch(net: StartNetwork, samples: Samples, watched: Array, mean: Tensor, components: Tensor) -> str:
    """Return the errors on varied patches of people that are not learned from."""
    rng = np.random.default_rng(0)
    rows = [samples.draw(int(i), rng) for i in watched]
    patches, points, _, unit = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
    net.eval()
    with torch.no_grad():
        off = projected(net(patches), mean, components, samples.config) - points
    errors = (off.norm(dim=2).mean(1) / unit).numpy()
    return f"median {np.median(errors):.4f}, mean {errors.mean():.4f}, above 0.10 {(errors > 0.1).mean():.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("renders", type=Path, nargs="+", help="folders of the rendered shards")
    parser.add_argument("model", type=Path, help="the model that train_model.py has made, .npz")
    parser.add_argument("work", type=Path, help="folder for the state of the training")
    parser.add_argument("out", type=Path, help="the model with this start, .npz")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--network", type=Path, help="take that of this model, and train the steps alone")
    parser.add_argument("--epochs", type=int, help="of each phase, in place of the configured numbers")
    args = parser.parse_args()
    table = tomllib.loads(args.config.read_text(encoding="utf-8"))["training"]
    outline = table.pop("hidden_outline"), table.pop("covered_outline")
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in table["network"].items()}
    phases = [Phase(**row | ({"epochs": args.epochs} if args.epochs else {})) for row in values.pop("phases")]
    config = NetworkConfig(**values, phases=tuple(phases), seed=table["seed"])
    training = training_config(table)
    assert training.start is not None
    model = Model.load(args.model)
    data = load_dataset(*args.renders)
    chosen = np.flatnonzero(~data.held_out)

    def put_aside(faces: AnnotatedFaces) -> Array:
        return held_out(faces.identities, training.held_out, training.seed)

    if args.network:
        given = Model.load(args.network).arrays
        arrays = {name: given[name] for name in given if name == "start/crop" or "network" in name}
    else:
        faces = annotated(data, chosen, model.pdm, training.seed, outline)
        samples = Samples(data.chosen(chosen), faces, model.pdm, config)
        arrays = trained(samples, put_aside(faces), config, args.work)
        arrays["start/crop"] = np.array([training.start.crop, training.start.margin], np.float32)
    # One-sided faces several times, so that the steps and the prior do not take them for errors.
    repeated = np.repeat(chosen, np.where(one_sided(data)[chosen], config.steps_palsy, 1))
    faces = annotated(data, repeated, model.pdm, training.seed, outline)
    start = refine_start(arrays, faces, model.pdm, ~put_aside(faces), training.start, seed=training.seed)
    # A refiner has learned from where other steps led.
    gone = ("start/", "refiner/")
    others = {name: value for name, value in model.arrays.items() if not name.startswith(gone)}
    whole = Model(
        model.pdm, model.scales, name=model.name, metadata=model.metadata, arrays=others | start.arrays()
    )
    whole.save(args.out, dtype="float16", compress=True)
    size = sum(value.nbytes for value in start.arrays().values())
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, its start {size / 1e6:.2f} MB as arrays")


if __name__ == "__main__":
    main()
