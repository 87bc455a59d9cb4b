"""Train the refiner, which looks once more after the linear steps of the learned start (needs PyTorch).

Its loss is the distance of the landmarks after its update. It learns from where the start leads from
disturbed boxes, moved on by a share of other faces' errors, each time by another's. The state of the training
is kept in WORK after each epoch; the same command goes on from there.

    python train_refiner.py RENDERS [RENDERS...] MODEL.npz WORK OUT.npz
"""

from __future__ import annotations

import argparse
import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from dataset import Dataset, load_dataset, one_sided
from numpy.typing import NDArray
from tqdm import tqdm, trange
from train_model import annotated, training_config

from pyclnf import Model
from pyclnf.crop import Crop
from pyclnf.descent import mode_signs
from pyclnf.images import as_pixels
from pyclnf.network import MIN_CONTRAST, weight_units
from pyclnf.pdm import PDM
from pyclnf.refiner import Refiner
from pyclnf.start import LearnedStart
from pyclnf.training import MIRROR_68, AnnotatedFaces

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
except ModuleNotFoundError as error:
    raise SystemExit("train_refiner.py needs PyTorch: pip install torch") from error

from train_network import rotation as rotation_of  # not without PyTorch

Array = NDArray[Any]

# What is seen of a patch and in between goes up to here, in deviations; training patches stay below.
PATCH_LIMIT = 8.0


@dataclass(frozen=True)
class RefinerConfig:
    """The table [training.refiner]; what is not said here is said there."""

    side: int
    scale: float
    widths: tuple[int, int, int]
    spacing: float
    own: int
    hidden: int
    boxes: int
    shift: float
    size: float
    spread: float
    sided: float
    batch: int
    epochs: int
    rate: float
    decay: float
    seed: int


# --- samples


class Faces(NamedTuple):
    """Pose and shape of faces in their crops."""

    scale: Tensor
    rotation: Tensor
    place: Tensor
    shape: Tensor

    def some(self, chosen: Array) -> Faces:
        """Return some of the faces."""
        return Faces(*(values[chosen] for values in self))


class Samples:
    """Crops of faces, what the start makes of them, and the truth."""

    def __init__(
        self, data: Dataset, faces: AnnotatedFaces, start: LearnedStart, config: RefinerConfig
    ) -> None:
        count, k = (
            len(data) * config.boxes,
            start.descent.n_modes if start.descent else start.predictor.n_modes,
        )
        self.crops = np.empty((count, start.side, start.side), np.uint8)
        found = [np.empty((count, *shape)) for shape in ((), (3, 3), (2,), (k,))]
        truth = [np.empty((count, *shape)) for shape in ((), (3, 3), (2,), (start.pdm.n_modes,))]
        rng = np.random.default_rng(config.seed)
        for i in trange(len(data), desc="crops"):
            pixels, landmarks = as_pixels(data.image(i, grey=True)), data.landmarks[i].astype(np.float64)
            low, extent = landmarks.min(axis=0), np.ptp(landmarks, axis=0)
            for at in range(i * config.boxes, (i + 1) * config.boxes):
                size = extent * rng.uniform(1 - config.size, 1 + config.size)
                middle = low + extent / 2 + extent * rng.uniform(-config.shift, config.shift, 2)
                guess = start.hypotheses(pixels, np.concatenate([middle - size / 2, size]))
                # (Rounded, as the start sees it.)
                crop = guess.crop
                self.crops[at] = np.rint(crop.pixels)
                for parameters, rows in ((guess[0], found), (faces.parameters(i), truth)):
                    _put(rows, at, crop, parameters)
        self.start, self.truth = (
            Faces(*(torch.tensor(rows, dtype=torch.float32) for rows in one)) for one in (found, truth)
        )
        self.sided = np.repeat(one_sided(data), config.boxes)


def _put(rows: list[Array], at: int, crop: Crop, parameters: Any) -> None:
    inside = crop.parameters_in(parameters)
    rows[0][at], rows[1][at], rows[2][at] = inside.pose[0], parameters.rotation, inside.pose[4:6]
    rows[3][at] = parameters.shape[: rows[3].shape[1]]


class Geometry:
    """A PDM, and how faces move, in PyTorch's numbers."""

    def __init__(self, pdm: PDM, modes: int) -> None:
        self.mean = torch.tensor(pdm.mean.reshape(3, -1), dtype=torch.float32)
        self.components = torch.tensor(pdm.components.reshape(*self.mean.shape, -1), dtype=torch.float32)
        self.signs = torch.tensor(mode_signs(pdm.components, MIRROR_68), dtype=torch.float32)
        self.deviations = torch.tensor(np.sqrt(pdm.eigenvalues[:modes]), dtype=torch.float32)
        points = pdm.mean.reshape(3, -1)
        self.eyes = float(np.linalg.norm(points[:, 36] - points[:, 45]))
        # An update of 1 moves the landmarks by about 2 mm.
        radius = float(np.sqrt((points**2).sum(axis=0).mean()))
        mode = 1 / np.sqrt(points.shape[1])
        self.units = torch.tensor([2 / radius] * 4 + [2.0] * 2 + [2 / mode] * modes, dtype=torch.float32)

    def landmarks(self, faces: Faces) -> Tensor:
        """Return the landmarks (N, n, 2), px of the crops."""
        components = self.components[:, :, : faces.shape.shape[1]]
        shapes = self.mean + torch.einsum("ijk,bk->bij", components, faces.shape)
        flat = (faces.rotation[:, :2] @ shapes).transpose(1, 2)
        return faces.scale[:, None, None] * flat + faces.place[:, None]

    def moved(self, faces: Faces, update: Tensor) -> Faces:
        """Return faces after updates (N, 6 + k), see `refine_faces`."""
        plane = upright(faces.rotation)
        turn = torch.cat([torch.einsum("bjk,bk->bj", plane, update[:, 1:3]), update[:, 3:4]], 1)
        shift = torch.einsum("bjk,bk->bj", plane, update[:, 4:6])
        return Faces(
            faces.scale * torch.exp(update[:, 0]),
            rotation_of(turn) @ faces.rotation,
            faces.place + faces.scale[:, None] * shift,
            faces.shape + update[:, 6:],
        )

    def mirrored(self, faces: Faces, which: Tensor, last: int) -> Faces:
        """Return the faces, some of them as in the mirror images of their crops."""
        flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
        place = torch.stack([last - faces.place[:, 0], faces.place[:, 1]], 1)
        signs = self.signs[: faces.shape.shape[1]]
        return Faces(
            faces.scale,
            torch.where(which[:, None, None], flip @ faces.rotation @ flip, faces.rotation),
            torch.where(which[:, None], place, faces.place),
            torch.where(which[:, None], faces.shape * signs, faces.shape),
        )

    def disturbed(self, start: Faces, truth: Faces, share: float, rng: np.random.Generator) -> Faces:
        """Return faces moved on by a share of what others, turned alike, are off."""
        order = np.argsort(start.rotation[:, 0, 2].numpy(), kind="stable")
        near = np.arange(len(order)) + rng.integers(-200, 201, len(order))
        other = np.empty_like(order)
        other[order] = order[np.clip(near, 0, len(order) - 1)]
        a, b = start.some(other), truth.some(other)
        # Of what is small: the log scale, the turn, the shift in mm and the shape.
        turn = a.rotation @ b.rotation.transpose(1, 2)
        vector = torch.stack([turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0],
                              turn[:, 1, 0] - turn[:, 0, 1]], 1) / 2  # fmt: skip
        return Faces(
            start.scale * (a.scale / b.scale) ** share,
            rotation_of(share * vector) @ start.rotation,
            start.place + share * (a.place - b.place) / b.scale[:, None] * start.scale[:, None],
            start.shape + share * (a.shape - b.shape[:, : a.shape.shape[1]]),
        )


def upright(rotation: Tensor) -> Tensor:
    """Return the rotations (N, 2, 2) that bring upright faces to the roll of theirs."""
    c, s = rotation[:, 1, 1], -rotation[:, 0, 1]
    length = torch.sqrt(c * c + s * s).clamp_min(1e-9)
    c, s = c / length, s / length
    return torch.stack([c, -s, s, c], 1).reshape(-1, 2, 2)


# --- the refiner


class RefinerNetwork(nn.Module):
    """What `pyclnf.refiner.Refiner` does, in PyTorch."""

    def __init__(self, geometry: Geometry, config: RefinerConfig) -> None:
        super().__init__()
        self.geometry, self.config = geometry, config
        n, modes, (first, second, third) = geometry.mean.shape[1], len(geometry.units) - 6, config.widths
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(1, first, 5, 2, 2),
                nn.Conv2d(first, second, 3, 1, 1),
                nn.Conv2d(second, third, 3, 1, 1),
            ]
        )
        steps = (-config.spacing, 0.0, config.spacing)
        self.offsets = torch.tensor([[x, y] for y in steps for x in steps])
        inputs = len(self.offsets) * third
        self.own = nn.Parameter(torch.randn(n, inputs, config.own) / inputs**0.5)
        self.own_bias = nn.Parameter(torch.zeros(n, 1, config.own))
        self.hidden = nn.Linear(n * config.own + modes + 9, config.hidden)
        self.last = nn.Linear(n * config.own + config.hidden, 6 + modes)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)
        line = (torch.arange(config.side) - (config.side - 1) / 2) / config.scale
        self.grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)

    def patches(self, crops: Tensor, faces: Faces) -> tuple[Tensor, Tensor]:
        """Return normalised patches (N, 1, S, S), and the landmarks in the upright faces, mm."""
        side, plane, landmarks = self.config.side, upright(faces.rotation), self.geometry.landmarks(faces)
        centre, scale = landmarks.mean(1, keepdim=True), faces.scale[:, None, None]
        at = (centre + scale * (self.grid @ plane.transpose(1, 2)) + 0.5) * (2 / crops.shape[-1]) - 1
        patches = functional.grid_sample(
            crops, at.reshape(-1, side, side, 2), padding_mode="border", align_corners=False
        )
        deviation = patches.std((2, 3), keepdim=True, correction=0)
        patches = (patches - patches.mean((2, 3), keepdim=True)) / (deviation + MIN_CONTRAST)
        return patches, torch.einsum("bnj,bjk->bnk", landmarks - centre, plane) / scale

    def forward(self, crops: Tensor, faces: Faces) -> Faces:
        """Return the faces where they are seen."""
        config, count = self.config, len(crops)
        found, points = self.patches(crops, faces)
        for convolution in self.convolutions:
            found = functional.relu(convolution(found))
        at = ((points[:, :, None] + self.offsets) * config.scale + config.side / 2) * (2 / config.side) - 1
        read = functional.grid_sample(found, at, padding_mode="border", align_corners=False)
        read = read.permute(2, 0, 3, 1).reshape(len(self.own), count, -1)
        said = (
            functional.relu(torch.baddbmm(self.own_bias, read, self.own)).permute(1, 0, 2).reshape(count, -1)
        )
        turned = faces.rotation.clone()
        turned[:, :2] = upright(faces.rotation).transpose(1, 2) @ faces.rotation[:, :2]
        pose = torch.cat([faces.shape / self.geometry.deviations, turned.reshape(count, 9)], 1)
        hidden = functional.relu(self.hidden(torch.cat([said, pose], 1)))
        update = self.last(torch.cat([said, hidden], 1)) * self.geometry.units
        return self.geometry.moved(faces, update)

    def arrays(self, crops: Tensor, faces: Faces) -> dict[str, Array]:
        """Return the arrays of a `Refiner`.

        What its layers see of the given faces says up to where their whole numbers go.
        """
        table, weights, units, biases, limits = [], [], [], [], []
        with torch.no_grad():
            found, greatest = self.patches(crops, faces)[0], PATCH_LIMIT
            for convolution in self.convolutions:
                kernel = convolution.weight.permute(2, 3, 1, 0).numpy().astype(np.float64)
                flat, bias = kernel.reshape(-1, kernel.shape[3]), convolution.bias.numpy().astype(np.float64)
                unit = weight_units(flat, bias, greatest)
                weights.append(np.rint(flat / unit).astype(np.int8).reshape(-1))
                units.append(unit)
                biases.append(bias)
                limits.append(greatest)
                row = kernel.shape[0], convolution.stride[0], convolution.padding[0], kernel.shape[3], 0, 1
                table.append(row)
                found = functional.relu(convolution(found))
                greatest = 1.5 * float(found.max())
            hidden_weights, hidden_bias = self.hidden.weight.T.numpy(), self.hidden.bias.numpy()
            last_weights, said = self.last.weight.T.numpy().copy(), len(self.own) * self.config.own
            # Both parts of the last layer use their eight bits.
            share = np.abs(last_weights[said:]).max() / np.abs(last_weights[:said]).max()
            last_weights[said:] /= share
            scale = self.geometry.units.numpy()
            return {
                "refiner/patch": np.array([self.config.side, self.config.scale], np.float32),
                "refiner/layers": np.array(table, np.int32),
                "refiner/limits": np.array(limits, np.float32),
                "refiner/weights": np.concatenate(weights),
                "refiner/units": np.concatenate(units).astype(np.float32),
                "refiner/biases": np.concatenate(biases).astype(np.float32),
                "refiner/offsets": self.offsets.numpy(),
                **_in_bytes("point", self.own.numpy(), self.own_bias[:, 0].numpy()),
                **_in_bytes("hidden", share * hidden_weights, share * hidden_bias),
                **_in_bytes("last", last_weights * scale, self.last.bias.numpy() * scale),
            }


def _in_bytes(name: str, weights: Array, bias: Array) -> dict[str, Array]:
    unit = np.maximum(np.abs(weights).max(axis=-2) / 127, 1e-30)
    return {
        f"refiner/{name}_weights": np.rint(weights / unit[..., None, :]).astype(np.int8),
        f"refiner/{name}_units": unit.astype(np.float32),
        f"refiner/{name}_bias": bias.astype(np.float32),
    }


# --- the training


def trained(samples: Samples, geometry: Geometry, config: RefinerConfig, state: Path) -> RefinerNetwork:
    """Return a refiner that has learned from samples.

    Raises
    ------
    ValueError
        If there are too few samples, or the state that is kept is of another training.
    """
    count = len(samples.crops)
    if count < config.batch:
        raise ValueError(f"{count} crops to learn from do not fill a batch of {config.batch}")
    torch.manual_seed(config.seed)
    net = RefinerNetwork(geometry, config)
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=config.decay)
    batches = count // config.batch
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.rate, total_steps=batches * config.epochs, pct_start=0.1
    )
    saved = {"net": net, "optimiser": optimiser, "rates": rates}
    digest = hashlib.sha256(samples.truth.place.numpy().tobytes() + samples.start.place.numpy().tobytes())
    origin, first = f"{config} {digest.hexdigest()}", 0
    if state.exists():
        found = torch.load(state)
        if found["origin"] != origin:
            raise ValueError(f"{state} is of a training with other pictures or numbers: give another folder")
        first = found["epoch"]
        for name, what in saved.items():
            what.load_state_dict(found[name])
    last = samples.crops.shape[2] - 1
    for epoch in range(first, config.epochs):
        rng = np.random.default_rng([config.seed, epoch])
        begin = geometry.disturbed(samples.start, samples.truth, config.spread, rng)
        order, total = rng.permutation(count), 0.0
        for batch in trange(batches, desc=f"epoch {epoch + 1}"):
            some = order[batch * config.batch : (batch + 1) * config.batch]
            flipped = torch.tensor(rng.random(len(some)) < 0.5)
            crops = torch.tensor(samples.crops[some])[:, None].float()
            crops = torch.where(flipped[:, None, None, None], crops.flip(3), crops)
            faces, truth = (
                geometry.mirrored(one.some(some), flipped, last) for one in (begin, samples.truth)
            )
            off = geometry.landmarks(net(crops, faces)) - geometry.landmarks(truth)
            errors = torch.sqrt(((off / truth.scale[:, None, None]) ** 2).sum(2) + 0.05).mean(1)
            shares = torch.tensor(np.where(samples.sided[some], config.sided, 1.0), dtype=torch.float32)
            loss = (errors * shares).sum() / shares.sum() / geometry.eyes
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            rates.step()
            total += loss.item()
        tqdm.write(f"epoch {epoch + 1}: mean error {total / batches:.4f}")
        partial = state.with_suffix(".part")
        torch.save(
            {k: v.state_dict() for k, v in saved.items()} | {"origin": origin, "epoch": epoch + 1}, partial
        )
        partial.replace(state)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("renders", type=Path, nargs="+", help="folders of the rendered shards")
    parser.add_argument("model", type=Path, help="the model that train_network.py has made, .npz")
    parser.add_argument("work", type=Path, help="folder for the state of the training")
    parser.add_argument("out", type=Path, help="the model with this refiner, .npz")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--epochs", type=int, help="in place of the configured number")
    args = parser.parse_args()
    table = tomllib.loads(args.config.read_text(encoding="utf-8"))["training"]
    outline = table.pop("hidden_outline"), table.pop("covered_outline")
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in table["refiner"].items()}
    values |= {"epochs": args.epochs} if args.epochs else {}
    config, training = RefinerConfig(**values, seed=table["seed"]), training_config(table)
    model = Model.load(args.model)
    data = load_dataset(*args.renders)
    data = data.chosen(np.flatnonzero(~data.held_out))
    faces = annotated(data, np.arange(len(data)), model.pdm, training.seed, outline)
    own = {name: value for name, value in model.arrays.items() if not name.startswith("refiner/")}
    start = LearnedStart(model.pdm, own)
    args.work.mkdir(parents=True, exist_ok=True)
    samples = Samples(data, faces, start, config)
    geometry = Geometry(model.pdm, samples.start.shape.shape[1])
    net = trained(samples, geometry, config, args.work / "refiner.pt")
    some = np.random.default_rng(config.seed).permutation(len(samples.crops))[:2000]
    arrays = net.arrays(torch.tensor(samples.crops[some])[:, None].float(), samples.start.some(some))
    Refiner(model.pdm, arrays)  # refused now rather than later
    whole = Model(model.pdm, model.scales, name=model.name, metadata=model.metadata, arrays=own | arrays)
    whole.save(args.out, dtype="float16", compress=True)
    size = sum(value.nbytes for value in arrays.values())
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, its refiner {size / 1e6:.2f} MB as arrays")


if __name__ == "__main__":
    main()
