"""Render labelled faces into shards; each shard is written whole or not at all, so a run can be resumed.

Shards that are there are skipped, those that hold fewer of the people than are asked for drawn anew. Every
person has an own seed, so pictures depend neither on the order nor on the number of processes,
and any prefix of the data set is a fair sample of the whole.

    python render_faces.py OUT --assets FOLDER [--set train|palsy_test|yaw_test|video_test|cycles]
        [--identities N] [--part 0/2]
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "LP_NUM_THREADS", "0"
)  # one process, one core: run as many processes as there are cores

import cv2
import numpy as np
from assets import locate_assets
from dataset import HELD_OUT_EVERY, write_shard
from motion import FRAMES, sample_motion
from people import Expression, Identity, sample_expression, sample_identity, vary_form, vary_neck
from photo import develop
from raster import Rasteriser
from scene import FaceFactory, Look, Pose, albedo_of, sample_pose, visibility
from tqdm import tqdm

# Identity numbers of the sets: those of the test sets are all held out. No person is in two sets.
SETS = {
    "train": 0, "palsy_test": 1_000_000, "yaw_test": 2_000_000, "cycles": 3_000_000, "video_test": 4_000_000,
}  # fmt: skip
_TRAINING = ("train", "cycles")
_BAND_IMAGES = 40  # of each band of yaw in the set yaw_test


class FaceRenderer:
    """Makes pictures of people from the configuration."""

    def __init__(self, cfg: dict[str, Any], factory: FaceFactory, raster: Rasteriser) -> None:
        self.cfg, self.factory, self.raster = cfg, factory, raster

    def images_of(self, identity: int, name: str) -> Iterator[dict[str, Any]]:
        """Pictures and labels of one person."""
        person, look = self.person(identity)
        if name == "video_test":
            yield from self._frames(identity, person, look)
            return
        for k in range(self.cfg["data"]["images_per_identity"] if name in _TRAINING else 1):
            yield self.image_of(identity, name, k, person, look)

    def person(self, identity: int) -> tuple[Identity, Look]:
        """Return who a number stands for."""
        cfg, base = self.cfg, self.factory.base
        rng = np.random.default_rng([cfg["data"]["seed"], identity])
        person = sample_identity(base, rng, cfg["identity"])
        look = self.factory.sample_look(rng, person)
        if look.varied:
            vary_neck(rng, base, person)
            vary_form(rng, self.factory.head, self.factory.eyes_of_head, person)
        return person, look

    def image_of(self, identity: int, name: str, k: int, person: Identity, look: Look) -> dict[str, Any]:
        """Return the k-th picture of a person, with its labels."""
        cfg = self.cfg
        rng = np.random.default_rng([cfg["data"]["seed"], identity, k + 1])
        if name == "palsy_test":
            expression = sample_expression(rng, cfg["expression"], palsy=True)
            pose = sample_pose(rng, cfg["pose"] | {"pitch_sd": 5.0, "roll_sd": 6.0}, (0.0, 20.0))
        elif name == "yaw_test":
            bands = cfg["pose"]["yaw_bands"]
            band = (identity - SETS[name]) % (len(bands) - 1)
            expression = sample_expression(rng, cfg["expression"])
            pose = sample_pose(rng, cfg["pose"], (bands[band], bands[band + 1]))
        else:
            expression = sample_expression(rng, cfg["expression"])
            pose = sample_pose(rng, cfg["pose"])
        row = self._drawn(identity, rng, person, look, expression, pose, plain=name == "palsy_test")
        return row | {"held_out": name not in _TRAINING or identity % HELD_OUT_EVERY == HELD_OUT_EVERY - 1}

    def _frames(self, identity: int, person: Identity, look: Look) -> Iterator[dict[str, Any]]:
        """Yield a second of video: clothes, light and camera stay, noise comes anew."""
        seed = self.cfg["data"]["seed"]
        motion = sample_motion(np.random.default_rng([seed, identity, 0]), self.cfg)
        for frame in range(FRAMES):
            same = np.random.default_rng([seed, identity, 1])
            row = self._drawn(identity, same, person, look, *motion.at(frame))
            noise = np.random.default_rng([seed, identity, 2, frame]).normal(0, 2, row["image"].shape)
            row["image"] = np.uint8(np.clip(row["image"] + noise, 0, 255) + 0.5)
            yield row | {"held_out": True}

    def _drawn(
        self,
        identity: int,
        rng: np.random.Generator,
        person: Identity,
        look: Look,
        expression: Expression,
        pose: Pose,
        plain: bool = False,
    ) -> dict[str, Any]:
        """Draw a picture, and return it with its labels."""
        scene, labels = self.factory.compose(rng, person, expression, look, pose, plain=plain)
        linear, face_depth, occluder_depth = self.raster.render(scene)
        if not np.isfinite(linear).all():
            raise FloatingPointError(f"a picture of person {identity} holds values that are not finite")
        labels.self_occluded, labels.occluded = visibility(scene.camera, labels, face_depth, occluder_depth)
        albedo = albedo_of(look)
        image = develop(linear, labels.landmarks, rng, albedo)
        meta = {
            "kind": expression.kind, "palsy_side": expression.palsy_side,
            "palsy_degree": expression.palsy_degree,
            "gaze": expression.gaze, "yaw": pose.yaw, "pitch": pose.pitch, "roll": pose.roll,
            "gender": person.gender, "age": person.age, "race": person.race, "skin": look.skin.stem,
            "albedo": albedo, "hair": look.hair, "beard_length": look.beard_length,
            "beard": look.beard.tolist(), "brow": look.brow, "brow_opacity": look.brow_opacity,
            "makeup": [round(v, 3) for v in look.makeup.strength.tolist()],
            "varied": look.varied, "things": labels.things,
            "units": {k: round(v, 3) for k, v in expression.weights.items() if v > 0.02},
        }  # fmt: skip
        return {
            "image": image, "landmarks": labels.landmarks, "landmarks3d": labels.landmarks3d,
            "self_occluded": labels.self_occluded, "occluded": labels.occluded, "pose": labels.pose,
            "camera": labels.camera, "identity": identity, "meta": json.dumps(meta),
        }  # fmt: skip


def make_renderer(
    cfg: dict[str, Any], assets_folder: str | None, cache: Path, cycles: bool = False
) -> FaceRenderer:
    """Load the assets and open the rasteriser, or the path tracer."""
    factory = FaceFactory(locate_assets(assets_folder), cfg, cache)
    numbers = (
        cfg["data"]["size"], cfg["render"]["samples"], cfg["render"]["shadow_size"],
        cfg["light"]["directions"], cfg["light"]["tile"],
    )  # fmt: skip
    if cycles:
        from path_trace import PathTracer  # only this set needs Blender

        raster: Rasteriser = PathTracer(*numbers, cfg["cycles"])
    else:
        raster = Rasteriser(*numbers)
    factory.prepare(raster)
    return FaceRenderer(cfg, factory, raster)


def part_of(text: str) -> tuple[int, int]:
    """Return i and n of i/n."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not i/n with i from 0 to n - 1")
    return int(part), int(parts)


def claim(folder: Path, cfg: dict[str, Any]) -> None:
    """Note which numbers draw the pictures of a folder: none that others draw must come among them.

    Raises
    ------
    ValueError
        If other numbers drew those that are there.
    """
    drawing = {
        name: {key: value for key, value in table.items() if key != "identities"}
        for name, table in cfg.items()
        if name not in ("training", "expansion", "fit")
    }
    text, file = json.dumps(drawing, indent=1, sort_keys=True), folder / "config.json"
    if file.exists():
        if file.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{folder} holds pictures that other numbers drew, see {file}: give another folder"
            )
    elif not any(folder.glob("shard_*.npz")):
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"config.{os.getpid()}.part"
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)


def holds(file: Path, whole: range, people: range) -> bool:
    """Return whether a shard is there with all of some people, of those that it may hold as a whole.

    Raises
    ------
    ValueError
        If it holds others, which must not be written over.
    """
    if not file.exists():
        return False
    with np.load(file) as shard:
        found = set(shard["identity"].tolist())
    if not found.issubset(whole):
        raise ValueError(f"{file} holds other people, of another set for example: give another folder")
    return found.issuperset(people)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the shards")
    parser.add_argument("--assets", help="assets folder (else the environment variable PYCLNF_ASSETS)")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--set", dest="name", choices=sorted(SETS), default="train")
    parser.add_argument("--identities", type=int, help="in place of the configured number")
    parser.add_argument(
        "--part",
        type=part_of,
        default=(0, 1),
        metavar="I/N",
        help="this process makes every n-th shard from i on",
    )
    args = parser.parse_args()
    if args.identities is not None and args.identities < 1:
        parser.error(f"at least one person is drawn, not {args.identities}")
    if args.name == "cycles" and find_spec("bpy") is None:
        parser.error("the set cycles needs Blender's package bpy: pip install '.[cycles]' in the checkout")
    cfg = tomllib.loads(args.config.read_text(encoding="utf-8"))
    count = args.identities or {
        "palsy_test": 200, "video_test": 40, "yaw_test": _BAND_IMAGES * (len(cfg["pose"]["yaw_bands"]) - 1),
        "cycles": cfg["cycles"]["identities"],
    }.get(args.name, cfg["data"]["identities"])  # fmt: skip
    per_shard, first = cfg["data"]["identities_per_shard"], SETS[args.name]
    part, parts = args.part
    todo: dict[Path, range] = {}
    try:
        claim(args.out, cfg)
        for shard in range(-(-count // per_shard))[part::parts]:
            whole = range(first + shard * per_shard, first + (shard + 1) * per_shard)
            file, people = args.out / f"shard_{shard:05d}.npz", whole[: count - shard * per_shard]
            if not holds(file, whole, people):
                todo[file] = people
    except ValueError as error:
        parser.error(str(error))
    if not todo:
        print(f"{args.out}: all shards are there")
        return
    renderer = make_renderer(cfg, args.assets, args.out / ".cache", cycles=args.name == "cycles")
    with tqdm(total=sum(map(len, todo.values())), unit="person", mininterval=5) as progress:
        for file, people in todo.items():
            rows = []
            for identity in people:
                rows += list(renderer.images_of(identity, args.name))
                progress.update()
            write_shard(file, rows, cfg["data"]["jpeg_quality"])


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
