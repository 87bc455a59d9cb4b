"""From a person and an expression to a scene: looks, pose, camera, light, background, and the labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accessories
import cv2
import hairdo
import numpy as np
import OpenEXR
from assets import Assets
from brows import BrowStyle, sample_brow_shape
from complexion import Complexion, sample_complexion, uneven_maps
from landmarks import LandmarkMap, Outline, mean_head
from makeup import MakeUp, makeup_maps, sample_brows, sample_makeup
from mesh import BaseMesh, Proxy, rotation, smooth_step
from numpy.typing import NDArray
from people import Expression, Identity, IdentityModes
from raster import Camera, Geometry, Lamp, Material, Part, Rasteriser, Scene, Sky, fibonacci_sphere

__all__ = ["FaceFactory", "Labels", "Look", "Pose", "sample_pose", "visibility"]

Rng = np.random.Generator
# From the world's axes (x right, y up, z to the camera) to the labels' (x right, y down, z away from it).
_TO_LABEL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Pose:
    """Head rotation in degrees: yaw to the image's right, pitch downwards, roll counter-clockwise."""

    yaw: float
    pitch: float
    roll: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Rotation in the world."""
        return rotation("z", self.roll) @ rotation("x", self.pitch) @ rotation("y", self.yaw)

    @property
    def euler(self) -> NDArray[np.float64]:
        """(rx, ry, rz) in radians with R = Rx Ry Rz and the labels' axes."""
        r = _TO_LABEL @ self.matrix @ _TO_LABEL
        return np.array([np.arctan2(-r[1, 2], r[2, 2]), np.arcsin(r[0, 2]), np.arctan2(-r[0, 1], r[0, 0])])


@dataclass
class Look:
    """What stays with a person from picture to picture."""

    skin: Path
    skin_tint: NDArray[np.float32]
    saturation: float
    roughness: float
    specular: float
    eye: Path
    brow: str
    lash: str
    teeth: str
    hair: str | None
    hair_colour: NDArray[np.float32]
    beard: NDArray[np.float32]
    beard_length: float
    wrinkle: NDArray[np.float32]
    cloth: NDArray[np.float32]
    hairdo: hairdo.Hairdo
    brow_colour: NDArray[np.float32]
    brow_opacity: float
    makeup: MakeUp
    complexion: Complexion
    brow_piece: Proxy
    lash_opacity: float
    collar: float | None = None
    """How far below the chin a high collar ends, mm."""

    @property
    def varied(self) -> bool:
        """Whether skin, brows, lashes and neck are none of the painted ones."""
        return not self.complexion.plain


@dataclass
class Labels:
    """Of one picture; see `dataset.Dataset` for the meaning."""

    landmarks: NDArray[np.float32]
    landmarks3d: NDArray[np.float32]
    self_occluded: NDArray[np.bool_]
    occluded: NDArray[np.bool_]
    pose: NDArray[np.float32]
    camera: NDArray[np.float32]
    things: list[str]


def sample_pose(rng: Rng, cfg: dict[str, Any], yaw: tuple[float, float] | None = None) -> Pose:
    """Draw a pose; ``yaw`` gives a band of |yaw| in place of the configured mixture."""
    if yaw is None:
        weights = np.array(cfg["yaw_weights"])
        k = int(rng.choice(len(weights), p=weights / weights.sum()))
        yaw = (cfg["yaw_bands"][k], cfg["yaw_bands"][k + 1])
    pitch = float(np.clip(rng.normal(0, cfg["pitch_sd"]), -cfg["pitch_max"], cfg["pitch_max"]))
    roll = float(np.clip(rng.normal(0, cfg["roll_sd"]), -cfg["roll_max"], cfg["roll_max"]))
    return Pose(float(rng.uniform(*yaw) * rng.choice([-1, 1])), pitch, roll)


def _direction(right: float, up: float) -> NDArray[np.float64]:
    """Return the unit vector that points so far, radians, to the right of and above the camera."""
    return np.array([np.sin(right) * np.cos(up), np.sin(up), np.cos(right) * np.cos(up)])


def albedo_of(look: Look) -> float:
    """Return about how much light the skin reflects."""
    return float(np.mean(look.skin_tint)) * (0.16 if "dark" in look.skin.name else 0.42)


class FaceFactory:
    """Holds meshes, maps and pictures; makes scenes."""

    def __init__(self, assets: Assets, cfg: dict[str, Any], cache: Path) -> None:
        self.assets, self.cfg = assets, cfg
        self.base = BaseMesh(assets, cache)
        self.skin = self.base.body_surface(lowest=470.0, widest=330.0)
        self.head = mean_head(self.base)
        self.points = LandmarkMap(self.base, self.skin)
        self.outline = Outline(self.points, cfg["points"]["outline_back"], cfg["points"]["outline_forward"])
        folder = assets.base
        excluded = set(cfg["appearance"]["excluded_hair"])
        self.lashes = self._proxies("eyelashes")
        self.teeth = self._proxies("teeth", folder / "teeth" / "materials" / "teeth.png")
        self.hair = {
            k: v
            for k, v in self._proxies("hair").items()
            if k not in excluded and v.texture and v.texture.exists()
        }
        self.tongue = Proxy.load(folder / "tongue" / "tongue01" / "tongue01.mhclo")
        self.eyes = Proxy.load(assets.core / "eyes" / "high-poly" / "high-poly.mhclo")
        self.eye_textures = sorted((folder / "eyes" / "materials").glob("*_eye.png"))
        self.brown_eye = assets.core / "eyes" / "materials" / "brown_eye.png"
        self.skins = sorted((folder / "skins" / "textures").glob("*.png"))
        self._mean_points = self.points(self.head)
        lid = self._mean_points[42:46, :2]
        eyebrows = self._proxies("eyebrows").items()
        self.brows = {k: BrowStyle(v, self.head, self.skin, lid) for k, v in eyebrows}
        self._mean_points[17:27] = np.mean(
            [style.points(style.brow, self.head) for style in self.brows.values()], 0
        )
        self.modes = IdentityModes(assets, self._mean_points, self.head, cfg["identity"]["ict_modes"])
        self._eyeballs = [self.base.group_vertices(f"helper-{s}-eye") for s in "rl"]
        self.eyes_of_head = np.stack([self.head[eyeball].mean(0) for eyeball in self._eyeballs])
        self._mean_used = self.head[self.skin.used]
        self._mask = self._skin_masks()[self.skin.corner_of_used].astype(np.float32)
        hairy = self._mask[:, :3].max(1) > 0.02
        self._beard_triangles = self.skin.triangles[hairy[self.skin.triangles].any(1)]
        ear = self._mean_used[:, 0] > 60
        above = (
            ear & (self._mean_used[:, 1] > 728) & (self._mean_used[:, 1] < 742) & (self._mean_used[:, 2] > 20)
        )
        self._ear_rest = int(self.skin.used[np.flatnonzero(above)[self._mean_used[above, 2].argmin()]])
        self._environments = [self._load_environment(p) for p in assets.environments]
        self._strands = hairdo.strand_texture(cache)

    def _proxies(self, kind: str, texture: Path | None = None) -> dict[str, Proxy]:
        files = sorted((self.assets.base / kind).glob("*/*.mhclo"))
        return {f.stem: Proxy.load(f, texture) for f in files}

    @staticmethod
    def _load_environment(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with OpenEXR.File(str(path)) as file:  # the headless OpenCV wheels have no OpenEXR
            image = np.nan_to_num(file.channels()["RGB"].pixels.astype(np.float32), posinf=6e4)
        if image.shape[1] > 1024:
            image = cv2.resize(image, (1024, 512), interpolation=cv2.INTER_AREA)
        return image, cv2.resize(np.minimum(image, 60), (48, 24), interpolation=cv2.INTER_AREA)

    # ---------------------------------------------------------------- masks and textures

    def _skin_masks(self) -> NDArray[np.float64]:
        """Of each used vertex: beard on cheeks and jaw, moustache, chin beard, cloth; shape (u, 4)."""
        v, p = self._mean_used.astype(float), self._mean_points
        x, y, z = np.abs(v[:, 0]), v[:, 1], v[:, 2]
        lip = p[48:60, :2].copy()
        lip = (lip - lip.mean(0)) * [1.06, 1.16] + lip.mean(0)
        off_lips = np.array(
            [-cv2.pointPolygonTest(lip.astype(np.float32), (float(a), float(b)), True) for a, b in v[:, :2]]
        )
        off_lips = np.where(z > 110, smooth_step(off_lips, 0.0, 3.0), 1.0)
        neck = smooth_step(y, p[8, 1] - 22, p[8, 1] + 2)
        # The beard's upper border runs from before the ear down to the corner of the mouth.
        border = np.interp(
            x, [0, 22, 40, 55, 64], [p[33, 1] - 3, p[48, 1] + 8, p[48, 1] + 3, p[3, 1] + 8, p[0, 1]]
        )
        below = smooth_step(border - y, -5, 9)
        front = smooth_step(z, 50, 72) * (x < 72)
        cheeks = below * neck * front * off_lips
        moustache = (
            smooth_step(34 - x, 0, 16) * smooth_step(p[33, 1] - y, 0, 6)
            * smooth_step(y, p[54, 1] - 6, p[54, 1]) * off_lips * (z > 125)
        )  # fmt: skip
        chin = smooth_step(30 - x, 0, 18) * smooth_step(p[57, 1] - 2 - y, 0, 9) * neck * (z > 80)
        # Under the nose and between lip and chin the cheeks' beard gives way to the other two.
        cheeks *= 1 - np.maximum(moustache, 0.6 * chin * (x < 14))
        cloth = smooth_step(594 - 0.12 * z - y, -16, 16)
        return np.stack([cheeks, moustache, chin, cloth], 1)

    def _mask_with_collar(self, below: float) -> NDArray[np.float32]:
        """Return the masks of all corners with cloth up to ``below`` mm under the chin, higher behind."""
        v, chin = self._mean_used, self._mean_points[8]
        cloth = smooth_step(chin[1] - below - 0.35 * (v[:, 2] - chin[2]) - v[:, 1], -3, 3)
        mask = self._mask.copy()
        mask[:, 3] = np.maximum(mask[:, 3], cloth[self.skin.corner_of_used])
        return mask

    def prepare(self, raster: Rasteriser) -> None:
        """Make the procedural textures of the skin (wrinkles, make-up, strands of hair)."""
        rng = np.random.default_rng(7)
        geometry = Geometry(
            self._mean_used[self.skin.corner_of_used],
            np.zeros((0, 3), np.float32),
            self.skin.uv,
            self.skin.triangles,
        )
        size = 1024
        at = raster.positions_in_texture(geometry, size)
        detail = self._wrinkle_maps(at, rng)
        raster.detail = raster.upload(np.uint8(np.clip(detail * 127.5 + 127.5, 0, 255)))
        raster.makeup = raster.upload(np.uint8(np.rint(255 * makeup_maps(at, self._mean_points))))
        raster.uneven = raster.upload(uneven_maps(np.random.default_rng(8)), repeat=True)
        noise = rng.random((256, 256)).astype(np.float32)
        noise = cv2.blur(np.tile(noise, (3, 3)), (2, 7))[256:512, 256:512]
        noise = (noise - noise.min()) / (noise.max() - noise.min())
        raster.strands = raster.upload(np.uint8(np.repeat(noise[..., None] * 255, 4, 2)), repeat=True)

    def _wrinkle_maps(self, at: NDArray[np.float32], rng: Rng) -> NDArray[np.float32]:
        """Heights in [-1, 1] of forehead lines, eye region, cheek folds and pores; shape (s, s, 4)."""
        p = self._mean_points
        x, y, z = at[..., 0], at[..., 1], at[..., 2]
        size = at.shape[0]
        wobble = cv2.GaussianBlur(rng.normal(0, 1, (size, size)).astype(np.float32), (0, 0), 12)
        wobble /= wobble.std()
        inside = (at[..., 3] > 0) & (z > 60)
        brow_top = p[19, 1] + 4
        rows = np.cos((y - 0.004 * x * x + 1.2 * wobble) * (2 * np.pi / 8.5))
        forehead = (
            -(np.maximum(rows, 0) ** 5)
            * smooth_step(y, brow_top, brow_top + 8)
            * smooth_step(-y, -brow_top - 50, -brow_top - 32)
        )
        forehead *= smooth_step(50 - np.abs(x), 0, 16)
        glabella = -np.exp(-(((np.abs(x) - 5 - 0.4 * wobble) / 1.3) ** 2)) * np.exp(
            -(((y - p[21, 1]) / 9) ** 2)
        )
        ax = np.abs(x)
        dx, dy = ax - p[45, 0], y - p[45, 1]
        radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        crow = -(np.maximum(np.cos(angle * 11 + 0.5 * wobble), 0) ** 4) * (np.abs(angle) < 1.0)
        crow *= smooth_step(radius, 3, 7) * smooth_step(-radius, -26, -12)
        ex, ey = (ax - p[42:48, 0].mean()) / 15, (y - p[47, 1] + 7 + 0.5 * wobble) / 1.4
        bag = -np.exp(-((ey - 4 * ex * ex * 0.6) ** 2)) * (np.abs(ex) < 1.2)
        bag2 = -0.7 * np.exp(-(((y - p[47, 1] + 3.2) / 0.9 - 2 * ex * ex) ** 2)) * (np.abs(ex) < 1)
        eyes = crow + bag + bag2 + 0.8 * glabella
        fold_x = np.interp(
            -y, [-p[31, 1] - 3, -p[48, 1], -p[48, 1] + 14], [p[35, 0] + 3, p[54, 0] + 7, p[54, 0] + 5]
        )
        folds = (
            -np.exp(-(((ax - fold_x - 0.5 * wobble) / 1.7) ** 2)) * (y < p[31, 1] + 3) * (y > p[48, 1] - 12)
        )
        folds *= smooth_step(y, p[48, 1] - 12, p[48, 1])
        pores = cv2.GaussianBlur(rng.normal(0, 1, (size, size)).astype(np.float32), (0, 0), 0.8)
        pores = 0.5 * pores / pores.std()
        maps = np.stack([forehead, eyes, folds, pores], -1) * inside[..., None]
        return cv2.GaussianBlur(maps.astype(np.float32), (0, 0), 0.8)

    # ---------------------------------------------------------------- people

    def sample_look(self, rng: Rng, identity: Identity) -> Look:
        """Skin, eyes, hair and so on of a person."""
        cfg = self.cfg["appearance"]
        sex = "_male" if identity.is_male else "female"
        pool = [s for s in self.skins if sex in s.name]
        dark = identity.race["african"] > 0.45
        if dark:
            pool = [s for s in self.skins if "dark" in s.name]
            if identity.age < 0.6:
                pool = [s for s in pool if "old" not in s.name]
            if rng.random() < 0.35:  # the light skins, darkened below
                pool = [s for s in self.skins if "light" in s.name and sex in s.name]
        elif identity.age > 0.65:
            pool = [s for s in pool if "middle" in s.name or "old" in s.name] or pool
        elif identity.age < 0.5:
            pool = [s for s in pool if "young" in s.name] or pool
        skin = Path(str(rng.choice([str(s) for s in pool])))
        tint = np.exp(rng.normal(0, 0.10)) * np.exp(rng.normal(0, [0.03, 0.02, 0.05]))
        if "dark" in skin.name:
            tint = tint * rng.uniform(0.9, 1.9) * np.array([0.92, 1.0, 1.08])
        elif dark:
            tint = tint * rng.uniform(0.16, 0.5) * np.array([1.0, 0.86, 0.76])
        elif rng.random() < 0.3:
            tint = tint * rng.uniform(0.5, 0.9) * np.array([1.0, 0.93, 0.84])
        light_eyes = identity.race["caucasian"] > 0.5 and rng.random() < 0.6
        brownish = [self.brown_eye] * 3 + [e for e in self.eye_textures if "brownlight" in e.name]
        eyes = self.eye_textures if light_eyes else brownish
        hair_pool = (
            [h for h in self.hair if "short" in h or "afro" in h] if identity.is_male else list(self.hair)
        )
        has_hair = rng.random() < cfg["hair_probability"] - 0.15 * (identity.is_male and identity.age > 0.6)
        # Of black to white hair; the texture's own brightness is 0.09.
        palette = np.array(
            [[0.25, 0.2, 0.17], [0.5, 0.38, 0.3], [1, 0.95, 0.85], [0.9, 0.6, 0.4], [0.12, 0.11, 0.11],
             [1.7, 1.35, 1.0], [2.4, 2.0, 1.5], [2.0, 1.2, 0.65], [3.0, 2.9, 2.7]]
        )  # fmt: skip
        share = (
            [0.22, 0.18, 0.1, 0.06, 0.18, 0.11, 0.08, 0.04, 0.03]
            if identity.race["caucasian"] > 0.5
            else [0.25, 0.03, 0.01, 0.01, 0.65, 0.02, 0.01, 0.01, 0.01]
        )
        colour = palette[rng.choice(len(palette), p=share)] * np.exp(rng.normal(0, 0.15))
        if rng.random() < smooth_step(np.array(identity.age), 0.6, 0.95) * 0.8:
            colour = np.full(3, rng.uniform(0.7, 3.2))
        beard, length = np.zeros(3), 0.0
        if identity.gender > 0.6 and identity.age > 0.42 and rng.random() < cfg["beard_probability"]:
            style = rng.choice(
                ["stubble", "full", "moustache", "goatee", "trimmed"], p=[0.45, 0.12, 0.1, 0.13, 0.2]
            )
            density = rng.uniform(0.5, 1)
            beard = {
                "stubble": np.full(3, density * 0.75), "full": np.ones(3), "trimmed": np.full(3, density),
                "moustache": np.array([0, 1.0, 0]), "goatee": np.array([0, 1.0, 1.0]),
            }[str(style)]  # fmt: skip
            if style != "stubble":
                length = float(rng.uniform(2, 9) if style == "full" else rng.uniform(1, 4))
        old = float(smooth_step(np.array(identity.age), 0.5, 0.95))
        strength = cfg["wrinkle_strength"] * np.exp(rng.normal(0, 0.3, 3)) * (0.04 + 1.0 * old)
        sexes = (cfg["long_hair_probability"], cfg["fringe_probability"])
        falling = hairdo.sample_hairdo(rng, *(pair[identity.is_male] for pair in sexes))
        hair = str(rng.choice(hair_pool)) if has_hair else None
        if falling.end is not None:  # locks fall over a short cut, which covers the scalp
            hair = str(rng.choice([h for h in self.hair if "short" in h]))
        look = Look(
            skin=skin, skin_tint=tint.astype(np.float32), saturation=float(rng.uniform(0.65, 1.0)),
            roughness=float(rng.uniform(0.5, 0.72)), specular=float(rng.uniform(0.02, 0.12)),
            eye=Path(str(rng.choice([str(e) for e in eyes]))),
            brow=(brow := str(rng.choice(list(self.brows)))),
            lash=str(rng.choice(list(self.lashes))), teeth=str(rng.choice(list(self.teeth))),
            hair=hair, hair_colour=colour.astype(np.float32),
            beard=beard.astype(np.float32), beard_length=length,
            wrinkle=np.r_[strength, rng.uniform(0.0, 0.12)].astype(np.float32),
            cloth=rng.uniform(0.02, 0.8, 3).astype(np.float32) if rng.random() < 0.6
            else np.full(3, rng.choice([0.03, 0.1, 0.4, 0.8]), np.float32),
            hairdo=falling, brow_colour=colour.astype(np.float32), brow_opacity=1.0, makeup=MakeUp(),
            complexion=Complexion(), brow_piece=self.brows[brow].brow, lash_opacity=1.0,
        )  # fmt: skip
        self._paint(rng, identity, look)
        if rng.random() < cfg["variety_probability"]:
            look.complexion = sample_complexion(rng, skin, self.skins)
            if rng.random() < 0.6:
                look.specular, look.roughness = float(rng.uniform(0.1, 0.35)), float(rng.uniform(0.3, 0.5))
            # The painted lashes are long and dense, on men as on women.
            look.lash_opacity = float(rng.uniform(*((0.1, 0.6) if identity.is_male else (0.25, 1.0))))
            look.brow_piece = self.brows[brow].shaped(sample_brow_shape(rng, identity.is_male))
        if rng.random() < cfg["collar_probability"]:
            look.collar = float(rng.uniform(*cfg["collar_below"]))
        return look

    def _paint(self, rng: Rng, identity: Identity, look: Look) -> None:
        """Paint some women's faces, and change some brows."""
        cfg = self.cfg["appearance"]
        wears = not identity.is_male and identity.age > 0.42 and rng.random() < cfg["makeup_probability"]
        if wears:
            look.makeup = sample_makeup(rng, albedo_of(look))
        if rng.random() < (0.5 if wears else cfg["thin_brows_probability"]):
            look.brow_colour, look.brow_opacity = sample_brows(rng, look.hair_colour, wears)

    def vertices(self, identity: Identity, expression: Expression) -> NDArray[np.float32]:
        """Build the base mesh of this person with this expression and gaze."""
        modes = self.modes(identity.modes)
        if identity.form is not None:
            modes = modes + identity.form
        if identity.gaze_shift is None:
            neutral = self.base.shape(identity.weights) + modes
            # The iris is 12 mm before the eyeball's centre.
            height = self._eye_height(neutral) - self._eye_height(self.head)
            identity.gaze_shift = float(np.degrees(np.arcsin(np.clip(height / 12, -0.5, 0.5))))
        v = self.base.shape(identity.weights | expression.weights) + modes
        turn = rotation("y", expression.gaze[0]) @ rotation("x", expression.gaze[1] + identity.gaze_shift)
        for eyeball in self._eyeballs:
            centre = v[eyeball].mean(0)
            v[eyeball] = (v[eyeball] - centre) @ turn.T + centre
        return v

    def _eye_height(self, v: NDArray[np.float32]) -> float:
        """How much higher than the middle of the lids the eyeballs lie."""
        lids = self.points(v)[36:48, 1]
        return float(np.mean([v[e, 1].mean() for e in self._eyeballs]) - lids.mean())

    def head_points(self, vertices: NDArray, look: Look) -> NDArray[np.float64]:
        """Locate the 68 points of a head with someone's brows, in the head's coordinates."""
        points = self.points(vertices)
        points[17:27] = self.brows[look.brow].points(look.brow_piece, vertices)
        return points

    # ---------------------------------------------------------------- scenes

    def compose(
        self,
        rng: Rng,
        identity: Identity,
        expression: Expression,
        look: Look,
        pose: Pose,
        plain: bool = False,
    ) -> tuple[Scene, Labels]:
        """Make the scene of one picture and its labels (visibility still empty).

        ``plain`` leaves out glasses and occluders.
        """
        v = self.vertices(identity, expression)
        eyes = np.stack([v[e].mean(0) for e in self._eyeballs])
        origin = eyes.mean(0) + np.array([0, -30, -15], np.float32)
        points = self.head_points(v, look)
        lips = np.linalg.norm(points[[61, 62, 63]] - points[[67, 66, 65]], axis=1)
        parts = self._head_parts(v, look, mouth_open=bool(lips.max() > 2.5))
        things: list[str] = []
        if not plain:
            extra = self._accessories(rng, v, points, identity, look)
            skull = hairdo.Skull.of(v[self.skin.used], points[36:48, 1].mean())
            cover = self._head_cover(rng, v, points, skull)
            if cover:  # what lies close to the scalp is under it
                parts = [part for part in parts if part.key not in self.hair]
            extra += cover + self._falling_hair(rng, points, look, skull, covered=bool(cover))
            things = [p.key.strip("~") for p in extra]
            parts += extra
        r = pose.matrix.astype(np.float32)
        for part in parts:
            part.geometry = Geometry(
                (part.geometry.position - origin) @ r.T, part.geometry.normal @ r.T, part.geometry.uv,
                part.geometry.triangles,
            )  # fmt: skip
        camera = self._camera(rng, (points - origin) @ pose.matrix.T)
        # The labels of the jaw lie on the outline that this camera sees.
        points[:17] = self.outline(v, np.array([0, 0, camera.distance]) @ pose.matrix + origin)
        world = (points - origin) @ pose.matrix.T
        radiance, sky, lamp, background = self._light(rng)
        wrinkle = look.wrinkle.copy()
        w = expression.weights
        wrinkle[0] *= 1 + 1.5 * max(w.get("fu/browInnerUpLeft", 0), w.get("fu/browInnerUpRight", 0))
        wrinkle[2] *= 1 + 0.8 * max(w.get("fu/mouthSmileLeft", 0), w.get("fu/mouthSmileRight", 0))
        scene = Scene(
            parts,
            camera,
            lamp,
            radiance,
            background,
            wrinkle,
            look.beard,
            np.minimum(look.hair_colour, 2.0) ** 1.2 * 0.16 + 0.01,
            look.cloth,
            sky,
            look.makeup,
            look.complexion,
        )
        nothing = np.zeros(68, bool)
        labels = Labels(
            camera.project(world).astype(np.float32), (world @ _TO_LABEL).astype(np.float32),
            nothing, nothing,
            pose.euler.astype(np.float32),
            np.array([camera.distance, camera.focal, *camera.centre], np.float32), things,
        )  # fmt: skip
        return scene, labels

    def _head_parts(self, v: NDArray[np.float32], look: Look, mouth_open: bool) -> list[Part]:
        used = v[self.skin.used]
        normals = self.skin.normals(used)
        corner = self.skin.corner_of_used
        mask = self._mask if look.collar is None else self._mask_with_collar(look.collar)
        cloth = mask[:, 3:4]
        position = used[corner] + normals[corner] * (5.0 * cloth)
        skin = Material(
            look.skin, look.skin_tint, look.saturation, look.roughness, look.specular, closed=True
        )
        body = Part(
            "skin" if look.collar is None else "~skin",  # the rasteriser keeps the masks of "skin"
            Geometry(position, normals[corner], self.skin.uv, self.skin.triangles), skin, role="face",
            mask=mask, shells=(6 if look.beard_length else 0, look.beard_length),
            shell_triangles=self._beard_triangles,
        )  # fmt: skip
        parts = [body]
        white = np.ones(3, np.float32)
        eye = Material(look.eye, white * 0.55, 0.85, 0.2, 0.25, cut=0.05, mode="blend")
        teeth = Material(self.teeth[look.teeth].texture, white * 0.85, 0.8, 0.35, 0.2, closed=True)
        brow_colour = np.minimum(look.brow_colour * 1.2, 1.3)
        hair = Material(None, look.hair_colour, 0.9, 0.55, 0.08, cut=0.25, mode="coverage")
        brow = Material(None, brow_colour, 0.9, 0.8, 0.02, opacity=look.brow_opacity, cut=0.04, mode="blend")
        lash = Material(None, white, 1.0, 0.8, 0.0, opacity=look.lash_opacity, cut=0.04, mode="blend")
        tongue = Material(self.tongue.texture, white, 1.0, 0.4, 0.2, closed=True)
        pieces = [
            (self.eyes, eye, "face", False),
            (look.brow_piece, brow, "none", False),
            (self.lashes[look.lash], lash, "none", False),
        ]  # fmt: skip
        if mouth_open:
            pieces += [(self.teeth[look.teeth], teeth, "none", False), (self.tongue, tongue, "none", False)]
        if look.hair:
            pieces.append((self.hair[look.hair], hair, "occluder", True))
        for proxy, material, role, casts in pieces:
            vertices = proxy.fit(v)[proxy.surface.used]
            corner = proxy.surface.corner_of_used
            geometry = Geometry(
                vertices[corner],
                proxy.surface.normals(vertices)[corner],
                proxy.surface.uv,
                proxy.surface.triangles,
            )
            material.texture = material.texture or proxy.texture
            parts.append(Part(proxy.name, geometry, material, role, casts, coarse=role == "occluder"))
        return parts

    def _accessories(
        self, rng: Rng, v: NDArray, points: NDArray, identity: Identity, look: Look
    ) -> list[Part]:
        cfg = self.cfg["appearance"]
        out: list[Part] = []
        if rng.random() < cfg["glasses_probability"]:
            rest = v[self._ear_rest] + np.array([2, 4, -18], np.float32)
            ears = np.stack([rest * [-1, 1, 1], rest])
            out += accessories.glasses(rng, points, ears, rng.random() < cfg["sunglasses_share"])
        if rng.random() < cfg["occluder_probability"]:
            kind = rng.choice(["hand", "patch", "bar", "mask", "scarf"], p=[0.35, 0.2, 0.15, 0.15, 0.15])
            used = v[self.skin.used]
            cover = (self.skin, used, self.skin.normals(used), self._mean_used, self._mean_points)
            if kind == "hand":
                out.append(accessories.hand(rng, points, np.array([0.42, 0.25, 0.18]) * look.skin_tint))
            elif kind == "patch":
                out.append(accessories.patch(rng, points))
            elif kind == "bar":
                out.append(accessories.bar(rng, points))
            elif kind == "mask":
                out.append(accessories.mask(rng, *cover))
            else:
                out.append(accessories.scarf(rng, *cover))
        return out

    def _head_cover(self, rng: Rng, v: NDArray, points: NDArray, skull: hairdo.Skull) -> list[Part]:
        """Put on a hat or a headscarf, or nothing."""
        cfg = self.cfg["appearance"]
        kind = rng.random()
        if kind < cfg["hat_probability"]:
            return [hairdo.hat(rng, skull, points)]
        if kind < cfg["hat_probability"] + cfg["headscarf_probability"]:
            used = v[self.skin.used]
            cover = (self.skin, used, self.skin.normals(used), self._mean_used, self._mean_points)
            return [hairdo.headscarf(rng, *cover)]
        return []

    def _falling_hair(
        self, rng: Rng, points: NDArray, look: Look, skull: hairdo.Skull, covered: bool
    ) -> list[Part]:
        """Long hair and fringe of a person; under a hat there is no fringe."""
        inputs = (look.hairdo, skull, points, self._strands, look.hair_colour)
        out = []
        if look.hairdo.end is not None:
            out.append(hairdo.long_hair(rng, *inputs))
        if look.hairdo.fringe is not None and not covered:
            out.append(hairdo.fringe(rng, *inputs))
        return out

    def _camera(self, rng: Rng, world: NDArray) -> Camera:
        cfg, size = self.cfg["camera"], self.cfg["data"]["size"]
        # The same share of the picture for a child's face as for a large one.
        face = np.linalg.norm(world[27] - world[8]) / np.linalg.norm(
            self._mean_points[27] - self._mean_points[8]
        )
        field = float(rng.uniform(*cfg["field"]) * np.clip(face, 0.75, 1.2))
        focal = np.exp(rng.uniform(*np.log(cfg["focal_equivalent"])))
        distance = focal / 36 * field / np.exp(rng.uniform(*np.log(cfg["frame_share"])))
        distance = float(np.clip(distance, *cfg["distance"]))
        camera = Camera(distance, distance / field * size, size, (0.0, 0.0))
        image = camera.project(world)
        # The face's box lies near the middle, whatever the pose.
        middle = (image.max(0) + image.min(0)) / 2
        target = (size - 1) / 2 + rng.normal(0, 0.025 * size, 2) - [0, 0.03 * size]
        camera.centre = (float(target[0] - middle[0]), float(target[1] - middle[1]))
        return camera

    def _light(self, rng: Rng) -> tuple[NDArray[np.float32], Sky, Lamp, NDArray[np.float32]]:
        """Light from each direction, the same as a picture, the lamp and the background."""
        cfg, size = self.cfg["light"], self.cfg["data"]["size"]
        directions = fibonacci_sphere(cfg["directions"])
        big, small = self._environments[rng.integers(len(self._environments))]
        h, w = small.shape[:2]
        polar, azimuth = (np.arange(h) + 0.5) / h * np.pi, (np.arange(w) + 0.5) / w * 2 * np.pi
        d = np.stack(
            [np.sin(polar)[:, None] * np.cos(azimuth), np.cos(polar)[:, None] * np.ones(w),
             np.sin(polar)[:, None] * np.sin(azimuth)], -1,
        ).reshape(-1, 3)  # fmt: skip
        spin = float(rng.uniform(0, 360))
        turn = rotation("x", rng.normal(0, 12)) @ rotation("y", spin)
        d = d @ turn.T
        weight = (np.sin(polar)[:, None] * np.ones(w)).ravel() * (np.pi / h) * (2 * np.pi / w)
        nearest = (d @ directions.T).argmax(1)
        radiance = np.zeros((len(directions), 3))
        np.add.at(radiance, nearest, small.reshape(-1, 3) * weight[:, None])
        gain = 4 * np.pi / (radiance.mean(1).sum() + 1e-6)
        radiance *= gain
        colour = np.exp(rng.normal(0, [0.10, 0.03, 0.14]))
        grey = rng.uniform(0.35, 0.95)  # cameras balance the white
        radiance = radiance * (1 - grey) + grey * radiance.mean(1, keepdims=True) * colour
        haze = rng.uniform(0, 0.15) * radiance.sum(0)
        radiance = radiance + haze / len(directions)
        sharp = cv2.resize(np.minimum(big, 60), (256, 128), interpolation=cv2.INTER_AREA) * gain
        sharp = sharp * (1 - grey) + grey * sharp.mean(2, keepdims=True) * colour
        sky = Sky(sharp.astype(np.float32), turn, (haze / (4 * np.pi)).astype(np.float32))
        # Large soft lamps (windows, the flash, a lit wall).
        for _ in range(int(rng.integers(0, 3))):
            towards = _direction(rng.normal(0, 1.0), rng.normal(0.3, 0.7))
            sharpness = rng.uniform(3, 20)
            lobe = np.exp(sharpness * (directions @ towards - 1))
            power = rng.uniform(0.2, 2.0) * 4 * np.pi * 0.35
            radiance += power * (lobe / lobe.sum())[:, None]
            sky.lobes.append((towards, sharpness, power))
        # From a weak one to the sun; from below, too: sand, water, a table, a stage.
        towards = _direction(rng.uniform(-1.8, 1.8), rng.uniform(-0.8, 1.4)).astype(np.float32)
        on = rng.random() < cfg["lamp_probability"]
        power = on * np.exp(rng.normal(-0.4, 0.9)) * np.exp(rng.normal(0, [0.10, 0.03, 0.12]))
        lamp = Lamp(
            towards, power.astype(np.float32), float(np.exp(rng.uniform(np.log(0.002), np.log(0.02))))
        )
        return radiance.astype(np.float32), sky, lamp, self._background(rng, big, spin, size)

    @staticmethod
    def _background(rng: Rng, big: NDArray[np.float32], spin: float, size: int) -> NDArray[np.float32]:
        kind = rng.random()
        if kind < 0.6:
            h, w = big.shape[:2]
            wide = int(w * rng.uniform(0.06, 0.3))
            x0, y0 = int(spin / 360 * w), int(rng.uniform(0.2, 0.75) * (h - wide / 2))
            columns = (np.arange(wide) + x0) % w
            crop = big[max(0, y0) : max(0, y0) + wide][:, columns]
            image = cv2.resize(crop, (size, size), interpolation=cv2.INTER_CUBIC)
            if rng.random() < 0.3:
                image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1, 8))
        else:
            image = np.zeros((size, size, 3), np.float32)
            for k in range(1, 7):
                if kind < 0.85 or k < 3:
                    n = 2**k
                    noise = rng.normal(0, 1, (n, n, 3)) * 0.4 + rng.normal(0, 1, (n, n, 1))
                    image += (
                        cv2.resize(noise.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC) / k
                    )
            image = np.exp(0.5 * image) * np.exp(rng.normal(0, 0.2, 3)).astype(np.float32)
            for _ in range(int(rng.integers(0, 12)) if rng.random() < 0.5 else 0):
                a, b = rng.integers(0, size, 2), rng.integers(4, size // 2, 2)
                image[a[0] : a[0] + b[0], a[1] : a[1] + b[1]] *= np.exp(rng.normal(0, 0.8, 3)).astype(
                    np.float32
                )
        image = np.maximum(image, 0)
        return (
            (image * np.exp(rng.normal(-1.2, 0.7)) / max(float(image.mean()), 1e-3))
            .clip(0, 20)
            .astype(np.float32)
        )


def visibility(
    camera: Camera, labels: Labels, face_depth: NDArray, occluder_depth: NDArray
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which points the face itself hides, and which an occluder (hair, glasses, hand...) hides.

    Points outside of the picture count as occluded.
    """
    size = camera.size
    depth = camera.distance + labels.landmarks3d[:, 2]
    # A point on the outline may fall on the pixel beside it: of 3 x 3 take the farthest (face) or the median
    # (occluder).
    kernel = np.ones((3, 3), np.uint8)
    behind = cv2.dilate(face_depth, kernel)
    before = cv2.medianBlur(np.ascontiguousarray(occluder_depth), 3)
    pixel = np.rint(labels.landmarks).astype(int)
    outside = ((pixel < 0) | (pixel >= size)).any(1)
    column, row = pixel.clip(0, size - 1).T
    # Lips that touch, the underside of the nose and the outline hide their points by some millimetres; such
    # points count as seen.
    slack = np.full(68, 4.0)
    slack[31:36], slack[60:68] = 8.0, 12.0
    slack[:17] = 14.0  # they lie where the surface turns away
    return behind[row, column] < depth - slack, (before[row, column] < depth - 0.5) | outside
