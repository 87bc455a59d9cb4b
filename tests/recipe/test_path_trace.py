"""The path tracer and the rasteriser see the same scene in the same place."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

for _package in ("moderngl", "OpenEXR", "scipy"):
    pytest.importorskip(_package)

RECIPE = Path(__file__).resolve().parents[2] / "models" / "recipe"
SIZE = 256


@pytest.fixture(autouse=True)
def recipe_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(RECIPE) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def _sky():
    from raster import Sky

    image = np.full((32, 64, 3), 0.5, np.float32)
    return Sky(image, np.eye(3), np.full(3, 0.1, np.float32))


def _discs(at):
    """White discs that face the camera, and something black that hides the last of them."""
    from raster import Camera, Geometry, Lamp, Material, Part, Scene, fibonacci_sphere

    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rim = np.c_[4 * np.cos(angle), 4 * np.sin(angle), 0 * angle]
    fan = np.array([[0, k, k + 1] for k in range(1, 23)])

    def geometry(centres, scale):
        n = len(centres) * 24
        return Geometry(
            (np.asarray(centres)[:, None] + scale * rim).reshape(-1, 3).astype(np.float32),
            np.tile(np.array([0, 0, 1], np.float32), (n, 1)),
            np.full((n, 2), 0.5, np.float32),
            np.concatenate([fan + 24 * k for k in range(len(centres))]).astype(np.int32),
        )

    white = Part("discs", geometry(at, 1.0), Material(specular=0.0), role="face")
    black = Part(
        "~patch", geometry(at[-1:] + np.array([0, 0, 20.0]), 2.0),
        Material(tint=np.zeros(3, np.float32), specular=0.0), role="occluder",
    )  # fmt: skip
    camera = Camera(640.0, 700.0, SIZE, (118.3, 136.8))
    lamp = Lamp(np.array([0, 0, 1], np.float32), np.full(3, 0.5, np.float32), 0.01)
    zero = np.zeros(4, np.float32)
    radiance = _sky().radiance(fibonacci_sphere(26)) * np.float32(4 * np.pi / 26)
    nothing = np.zeros((SIZE, SIZE, 3), np.float32)
    return Scene(
        [white, black], camera, lamp, radiance, nothing, zero, zero[:3], zero[:3], zero[:3], _sky()
    )  # fmt: skip


def _centres(image, near):
    """Centre of what is bright around each of these points."""
    grey = image.mean(2)
    out = []
    for x, y in near:
        c, r = round(x), round(y)
        piece = grey[r - 9 : r + 10, c - 9 : c + 10]
        v, u = np.mgrid[-9:10, -9:10]
        out.append(np.array([c + (piece * u).sum() / piece.sum(), r + (piece * v).sum() / piece.sum()]))
    return np.array(out)


@pytest.mark.skipif(find_spec("bpy") is None, reason="needs Blender's package bpy")
@pytest.mark.filterwarnings("ignore")
def test_both_put_a_point_on_the_same_pixel():
    import tomllib

    from path_trace import PathTracer
    from raster import Rasteriser

    cfg = tomllib.loads((RECIPE / "config.toml").read_text())["cycles"]
    tracer = PathTracer(SIZE, 4, 512, 26, 96, cfg)
    at = np.array([[x, y, z] for x, z in ((-75, -30), (-20, 60), (30, 10), (80, -60)) for y in (-70, 5, 72)])
    scene = _discs(at.astype(float))
    drawn, *depths = Rasteriser.render(tracer, scene)
    traced, *same_depths = tracer.render(scene)
    again, *_ = tracer.render(scene)
    expected = scene.camera.project(at)[:-1]
    assert np.abs(_centres(drawn, expected) - expected).max() < 0.3
    assert np.abs(_centres(traced, expected) - expected).max() < 0.3
    # What is in front hides, and the light is as strong.
    x, y = np.rint(scene.camera.project(at[-1:])[0]).astype(int)
    assert traced[y, x].max() < 0.02
    x, y = np.rint(expected[0]).astype(int)
    assert traced[y, x].mean() == pytest.approx(0.6 + 0.5, rel=0.1)
    assert drawn[y, x].mean() == pytest.approx(traced[y, x].mean(), rel=0.15)
    for one, other in zip(depths, same_depths, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(traced, again)


def test_the_sky_keeps_its_light_and_its_place():
    from mesh import rotation
    from raster import Sky, fibonacci_sphere

    directions = fibonacci_sphere(4000)
    towards = np.array([0.6, 0.0, 0.8])
    sky = _sky()
    sky.lobes.append((towards, 8.0, 3.0))
    light = sky.radiance(directions)
    assert light.mean() * 4 * np.pi == pytest.approx(0.6 * 4 * np.pi + 3.0, rel=0.01)
    assert directions[light.mean(1).argmax()] @ towards > 0.99

    image = np.zeros((64, 128, 3), np.float32)
    image[31:33, 31:33] = 1  # a quarter round from x is z
    turn = rotation("y", 90)
    found = directions[Sky(image, turn, np.zeros(3, np.float32)).radiance(directions).mean(1).argmax()]
    assert found @ (turn @ [0, 0, 1]) > 0.99


def test_no_person_is_in_two_sets():
    import tomllib

    from render_faces import SETS

    cfg = tomllib.loads((RECIPE / "config.toml").read_text())
    most = max(cfg["data"]["identities"], cfg["cycles"]["identities"])
    assert min(np.diff(sorted(SETS.values()))) > most
