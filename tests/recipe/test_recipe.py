"""Parts of the recipe that need no assets: data set on disk, pose convention, camera, expressions."""

import contextlib
import json
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

RECIPE = Path(__file__).resolve().parents[2] / "models" / "recipe"


@pytest.fixture(autouse=True)
def recipe_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(RECIPE) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def _row(identity, value):
    rng = np.random.default_rng(identity)
    return {
        "image": np.full((32, 32, 3), value, np.uint8),
        "landmarks": rng.normal(0, 1, (68, 2)).astype(np.float32),
        "landmarks3d": rng.normal(0, 1, (68, 3)).astype(np.float32),
        "self_occluded": rng.random(68) < 0.5,
        "occluded": rng.random(68) < 0.5,
        "identity": identity,
        "held_out": identity % 10 == 9,
        "pose": np.zeros(3, np.float32),
        "camera": np.ones(4, np.float32),
        "meta": json.dumps({"kind": "smile", "number": identity}),
    }


def test_labels_of_lids_and_lips_meet_where_the_mesh_goes_on(tmp_path):
    """Each covered point lies where the one that covers it does, in height; in the picture, too."""
    from dataset import CONTACTS, load_dataset, write_shard

    from pyclnf import CLNF
    from pyclnf.pdm import euler_to_matrix

    mean = CLNF().model.pdm.mean.reshape(3, -1).T
    pose, camera = np.array([0.1, -0.5, 0.3]), np.array([600, 900, 128, 128])
    turned = euler_to_matrix(pose)

    def row(identity, head):
        solid = head @ turned.T
        flat = 900 * solid[:, :2] / (600 + solid[:, 2:]) + 128
        points = {"landmarks": flat.astype(np.float32), "landmarks3d": solid.astype(np.float32)}
        places = {"pose": pose.astype(np.float32), "camera": camera.astype(np.float32)}
        return _row(identity, 5) | points | places

    covered, covering = np.array(CONTACTS).T
    closed = mean.copy()
    # By 2 mm beyond: lower lids upwards, the upper lip downwards.
    closed[covered, 1] = closed[covering, 1] + np.repeat([-2.0, 2.0], [4, 3])
    met = mean.copy()
    met[covered, 1:] = met[covering, 1:]
    write_shard(tmp_path / "shard_00000.npz", [row(1, mean), row(2, closed)], 95)
    data = load_dataset(tmp_path)
    for i, head in enumerate((mean, met)):
        wanted = row(0, head)
        np.testing.assert_allclose(data.landmarks3d[i], wanted["landmarks3d"], atol=1e-4)
        np.testing.assert_allclose(data.landmarks[i], wanted["landmarks"], atol=1e-4)


def test_shards_come_back_in_order_and_whole(tmp_path):
    from dataset import load_dataset, write_shard

    rows = [_row(i, 10 * i) for i in (3, 9, 12)]
    write_shard(tmp_path / "shard_00001.npz", rows[2:], 95)
    write_shard(tmp_path / "shard_00000.npz", rows[:2], 95)
    data = load_dataset(tmp_path)
    assert data.identity.tolist() == [3, 9, 12]
    assert data.held_out.tolist() == [False, True, False]
    assert [m["number"] for m in data.meta] == [3, 9, 12]
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(data.landmarks[i, :36], row["landmarks"][:36])
        np.testing.assert_array_equal(data.visible[i], ~row["self_occluded"] & ~row["occluded"])
        assert abs(int(data.image(i).mean()) - 10 * row["identity"]) <= 1
        assert data.image(i, grey=True).shape == (32, 32)
    assert len(load_dataset(tmp_path, limit=1)) == 2
    assert not list(tmp_path.glob("*.part"))


def test_an_empty_folder_is_an_error(tmp_path):
    from dataset import load_dataset

    with pytest.raises(FileNotFoundError, match="render_faces"):
        load_dataset(tmp_path)


def test_fit_numbers_are_those_of_the_scales_that_there_are():
    pytest.importorskip("tqdm")
    from train_model import fit_numbers

    fit = {
        "image": {"windows": [0, 0, 0, 9], "sigma": 1.5},
        "image_far": {"windows": [11, 0, 9, 7], "sigma": 2.0},
    }
    configured = [0.25, 0.35, 0.5, 0.8]
    assert fit_numbers(fit, configured, configured) == fit
    assert fit_numbers(fit, configured, (0.25, 0.8)) == {
        "image": {"windows": [0, 9], "sigma": 1.5},
        "image_far": {"windows": [11, 7], "sigma": 2.0},
    }
    # Nothing is known of other scales.
    assert fit_numbers(fit, configured, (0.25, 0.7))["image_far"] == {"sigma": 2.0}
    # A fit must not skip all scales.
    assert fit_numbers(fit, configured, (0.35,)) == {"image": {"sigma": 1.5}, "image_far": {"sigma": 2.0}}


def _network_config(phases, **others):
    from train_network import NetworkConfig, Phase

    table = tomllib.loads((RECIPE / "config.toml").read_text(encoding="utf-8"))["training"]["network"]
    numbers = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    numbers |= {"phases": tuple(Phase(n, 1e-3, 0.0, 1) for n in phases), "seed": 1}
    return NetworkConfig(**numbers | others)


def test_a_training_goes_on_from_a_state_of_its_own_alone():
    for package in ("torch", "tqdm"):
        pytest.importorskip(package)
    from types import SimpleNamespace

    from train_network import origin_of

    samples = SimpleNamespace(landmarks=np.zeros((3, 68, 2)), pdm=SimpleNamespace(components=np.eye(3)))
    chosen, config = np.arange(2), _network_config([3, 2])
    origin = origin_of(samples, chosen, config, 0)
    # What follows a phase says nothing of it.
    assert origin == origin_of(samples, chosen, _network_config([3, 5, 1]), 0)
    assert origin != origin_of(samples, chosen, config, 1)
    assert origin != origin_of(samples, chosen, _network_config([4, 2]), 0)
    assert origin != origin_of(samples, np.arange(3), config, 0)
    samples.pdm.components = 2 * np.eye(3)
    assert origin != origin_of(samples, chosen, config, 0)
    with pytest.raises(ValueError, match="multiples of 16"):
        _network_config([1], widths=(16, 24))


def test_a_training_does_not_wait_for_batches_that_cannot_come(monkeypatch):
    for package in ("torch", "tqdm"):
        pytest.importorskip(package)
    import queue
    from types import SimpleNamespace

    from train_network import _next_batch

    batches = queue.Queue()
    batches.put(["one"])
    ended = SimpleNamespace(is_alive=lambda: False)
    assert _next_batch(batches, ended) == ["one"]
    alive = [True]

    def come_late(timeout):
        """The last batch comes, and its process ends, just after a look."""
        if alive.pop():
            alive.append(False)
            raise queue.Empty
        return ["last"]

    with monkeypatch.context() as patched:
        patched.setattr(batches, "get", come_late)
        assert _next_batch(batches, SimpleNamespace(is_alive=lambda: alive[0])) == ["last"]

    def empty(timeout):
        raise queue.Empty

    monkeypatch.setattr(batches, "get", empty)
    with pytest.raises(RuntimeError, match="ended before its time"):
        _next_batch(batches, ended)


def test_each_stage_of_a_training_has_a_bar_of_its_own(monkeypatch):
    pytest.importorskip("tqdm")
    import train_model

    class Bar:
        def __init__(self, desc, total, mininterval):
            self.desc, self.total, self.n, self.closed = desc, total, 0, False
            bars.append(self)

        def update(self, more):
            assert more >= 0
            self.n += more

        def close(self):
            self.closed = True

    bars = []
    monkeypatch.setattr(train_model, "tqdm", Bar)
    show = train_model.progress_bar()
    # The finest scales' experts come after the others'.
    for done, total in ((1, 3), (2, 3), (3, 3), (1, 2), (2, 2)):
        show("experts", done, total)
    show("start", 4, 4)
    assert [(bar.desc, bar.n, bar.total, bar.closed) for bar in bars] == [
        ("experts", 3, 3, True), ("experts", 2, 2, False), ("start", 4, 4, False),
    ]  # fmt: skip


def test_a_folder_takes_the_pictures_of_one_drawing_alone(tmp_path):
    for package in ("moderngl", "OpenEXR", "tqdm"):
        pytest.importorskip(package)
    from dataset import write_shard
    from render_faces import claim, holds

    config = tomllib.loads((RECIPE / "config.toml").read_text(encoding="utf-8"))
    folder, file = tmp_path / "new", tmp_path / "new" / "shard_00001.npz"
    claim(folder, config)
    assert not holds(file, range(40, 80), range(40, 43))
    # More people, and what is trained on them, change no picture.
    claim(folder, config | {"data": config["data"] | {"identities": 3}, "training": {}})
    with pytest.raises(ValueError, match="give another folder"):
        claim(folder, config | {"data": config["data"] | {"seed": 5}})
    write_shard(file, [_row(i, 100) for i in range(40, 43)], 95)
    assert holds(file, range(40, 80), range(40, 43))
    assert holds(file, range(40, 80), range(40, 42))
    assert not holds(file, range(40, 80), range(40, 80))
    with pytest.raises(ValueError, match="other people"):
        holds(file, range(2_000_040, 2_000_080), range(2_000_040, 2_000_043))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", file.name]
    # Nobody knows what pictures of before were drawn with.
    claim(tmp_path / "old", config)
    (tmp_path / "old" / "config.json").unlink()
    write_shard(tmp_path / "old" / "shard_00000.npz", [_row(1, 100)], 95)
    claim(tmp_path / "old", config)
    assert not (tmp_path / "old" / "config.json").exists()


def test_a_rendering_goes_on_where_people_are_missing(tmp_path, monkeypatch, capsys):
    for package in ("moderngl", "OpenEXR", "tqdm"):
        pytest.importorskip(package)
    import render_faces
    from dataset import load_dataset

    class Renderer:
        def images_of(self, identity, name):
            yield _row(identity, 100)

    monkeypatch.setattr(render_faces, "make_renderer", lambda *_, **__: Renderer())
    bars = []
    monkeypatch.setattr(
        render_faces, "tqdm", lambda total, **_: bars.append(total) or contextlib.nullcontext(Bar())
    )

    class Bar:
        def update(self):
            bars.append(bars.pop() - 1)

    def render(*arguments):
        monkeypatch.setattr(sys, "argv", ["render_faces.py", str(tmp_path), *arguments])
        render_faces.main()

    render("--identities", "8")
    assert bars.pop() == 0
    render("--identities", "90", "--part", "1/2")
    render("--identities", "90", "--part", "0/2")
    assert load_dataset(tmp_path).identity.tolist() == list(range(90))
    assert bars == [0, 0]
    render("--identities", "90")
    assert "all shards are there" in capsys.readouterr().out and bars == [0, 0]
    for wrong in (["--part", "2/2"], ["--part", "1"], ["--identities", "0"], ["--set", "yaw_test"]):
        assert _said_of(render_faces, monkeypatch, capsys, tmp_path, *wrong)


def test_missing_assets_are_named(tmp_path, monkeypatch):
    pytest.importorskip("scipy")
    from assets import AssetError, locate_assets

    monkeypatch.delenv("PYCLNF_ASSETS", raising=False)
    with pytest.raises(AssetError, match="PYCLNF_ASSETS"):
        locate_assets()
    with pytest.raises(AssetError, match="missing asset"):
        locate_assets(tmp_path / "none")


def test_pose_is_rx_ry_rz_in_the_axes_of_the_labels():
    for package in ("moderngl", "OpenEXR"):
        pytest.importorskip(package)
    from scene import Pose

    pose = Pose(yaw=-50, pitch=12, roll=20)
    rx, ry, rz = pose.euler
    c, s = np.cos, np.sin
    x = np.array([[1, 0, 0], [0, c(rx), -s(rx)], [0, s(rx), c(rx)]])
    y = np.array([[c(ry), 0, s(ry)], [0, 1, 0], [-s(ry), 0, c(ry)]])
    z = np.array([[c(rz), -s(rz), 0], [s(rz), c(rz), 0], [0, 0, 1]])
    flip = np.diag([1, -1, -1])
    np.testing.assert_allclose(x @ y @ z, flip @ pose.matrix @ flip, atol=1e-12)
    # A positive ry turns the nose (towards the camera, negative z) to the picture's left.
    nose = Pose(yaw=-70, pitch=0, roll=0)
    assert nose.euler[1] == pytest.approx(np.radians(70))
    assert (flip @ nose.matrix @ flip @ [0, 0, -1])[0] < 0


def test_camera_projects_as_opengl_does():
    pytest.importorskip("moderngl")
    from raster import Camera

    camera = Camera(distance=600.0, focal=700.0, size=256, centre=(120.0, 131.5))
    points = np.random.default_rng(0).normal(0, 60, (20, 3))
    clip = np.c_[points, np.ones(20)] @ camera.clip_matrix().T
    ndc = clip[:, :3] / clip[:, 3:]
    pixel = np.c_[(ndc[:, 0] + 1) * 128 - 0.5, (1 - ndc[:, 1]) * 128 - 0.5]
    np.testing.assert_allclose(pixel, camera.project(points), atol=1e-9)
    window = (ndc[:, 2] * 0.5 + 0.5).astype(np.float32)
    np.testing.assert_allclose(camera.linear_depth(window), 600 - points[:, 2], atol=0.1)


def test_palsy_weakens_the_named_side():
    from people import sample_expression

    cfg = {
        "palsy_probability": 0.0, "one_sided_probability": 0.0, "grin_probability": 0.25,
        "gaze_sd": [12.0, 6.0],
    }  # fmt: skip
    difference = []
    for seed in range(300):
        expression = sample_expression(np.random.default_rng(seed), cfg, palsy=True)
        sides = ("Left", "Right") if expression.palsy_side > 0 else ("Right", "Left")
        if expression.kind in ("smile", "laugh", "grin"):
            weak, strong = (expression.weights[f"fu/mouthSmile{side}"] for side in sides)
            assert weak == pytest.approx(strong * (1 - expression.palsy_degree))
            difference.append(strong - weak)
    assert len(difference) > 30 and min(difference) > 0


def test_grins_leave_other_faces_as_they_are():
    from people import sample_expression

    cfg = {"palsy_probability": 0.2, "one_sided_probability": 0.3, "gaze_sd": [12.0, 6.0]}
    grins = 0
    for seed in range(400):
        without, some = (
            sample_expression(np.random.default_rng(seed), cfg | {"grin_probability": p}) for p in (0.0, 0.25)
        )
        assert without.kind != "grin"
        if some.kind == "grin":
            grins += 1
            smile = max(some.weights["fu/mouthSmileLeft"], some.weights["fu/mouthSmileRight"])
            assert smile > 0.1
        else:
            assert some == without
    assert 70 < grins < 130


class _Egg:
    """A head that is an ellipsoid, with points on the outline of its frontal view."""

    def __init__(self):
        polar, turn = np.meshgrid(np.linspace(0, np.pi, 61), np.linspace(0, 2 * np.pi, 120, endpoint=False))
        unit = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], -1)
        self.half = np.array([70.0, 100.0, 80.0])
        self._head = (unit * self.half).reshape(-1, 3)
        index = np.arange(len(self._head)).reshape(polar.shape)
        a, b = index[:, :-1], np.roll(index, -1, axis=0)[:, :-1]
        c, d = index[:, 1:], np.roll(index, -1, axis=0)[:, 1:]
        triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3)
        self._skin = type("Skin", (), {"mesh_triangles": triangles})
        self._outside = np.ones(len(triangles), bool)
        angle = np.radians(np.linspace(180, 360, 17))
        self._jaw = np.stack([70 * np.cos(angle), 100 * np.sin(angle), 0 * angle], -1)

    def _position(self, k):
        return self._jaw[k]


@pytest.mark.parametrize("yaw", (0, 15, 30, -40))
def test_the_jaw_lies_on_the_outline_that_is_seen(yaw):
    from landmarks import Outline

    egg = _Egg()
    angle = np.radians(yaw)
    view = 900.0 * np.array([np.sin(angle), 0, np.cos(angle)])
    found = Outline(egg, back=5.0, forward=90.0)(egg._head, view)
    # As seen from there, the points of the far side lie on the border of the head.
    across = np.array([np.cos(angle), 0, -np.sin(angle)])

    def seen(points):
        ray = points - view
        depth = -(ray @ view) / 900.0
        return (900.0 * np.stack([ray @ across, ray[:, 1]], -1) / depth[:, None]).astype(np.float32)

    border = cv2.convexHull(seen(egg._head))
    far = slice(0, 8) if yaw > 0 else slice(9, 17)
    inside = [cv2.pointPolygonTest(border, (float(x), float(y)), True) for x, y in seen(found)[far]]
    fixed = [cv2.pointPolygonTest(border, (float(x), float(y)), True) for x, y in seen(egg._jaw)[far]]
    assert max(inside) < 1.0
    assert abs(yaw) < 30 or max(fixed) > 5.0
    # On the near side the outline lies behind the ear: there a point slides no farther than it may.
    moved = np.linalg.norm(found - egg._jaw, axis=1)
    near = slice(9, 17) if yaw > 0 else slice(0, 8)
    assert moved[near].max() < (25.0 if yaw == 0 else 6.5)


def test_lines_run_inwards_from_behind_the_point():
    from landmarks import Outline

    egg = _Egg()
    outline = Outline(egg, back=5.0, forward=40.0)
    for k, line in enumerate(np.split(outline.matrix @ egg._head, outline._ends[:-1])):
        steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
        assert np.abs(steps - Outline.STEP).max() < 0.05
        assert np.linalg.norm(line[5] - egg._jaw[k]) < 1.5
        assert line[0, 2] < 0 < line[-1, 2]
        assert np.abs((line / egg.half) ** 2).sum(1) == pytest.approx(1, abs=0.01)


def test_a_mean_face_does_not_follow_points_that_slide_along_a_curve():
    from people import _CURVES, _FIXED, _without_slides

    rng = np.random.default_rng(3)
    angle = np.linspace(-np.pi, 0, 17)
    points = rng.normal(0, 10, (68, 3))
    points[:17] = np.c_[70 * np.cos(angle), 90 * np.sin(angle), 100 + 0 * angle]
    outward = points[:17, :2] / [70**2, 90**2]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    along = np.c_[-outward[:, 1], outward[:, 0]]
    difference = rng.normal(0, 1, (68, 3))
    difference[:17, :2] = 4 * along + 3 * outward
    left = _without_slides(difference, points)
    # Secants of the ellipse are not quite its tangents.
    inner = slice(1, 16)
    np.testing.assert_allclose((left[inner, :2] * along[inner]).sum(axis=1), 0, atol=0.2)
    np.testing.assert_allclose((left[inner, :2] * outward[inner]).sum(axis=1), 3, atol=0.2)
    np.testing.assert_array_equal(left[:6, 2], 0)
    np.testing.assert_array_equal(left[6:11, 2], difference[6:11, 2])
    others = [*range(17, 36), *_FIXED]
    np.testing.assert_array_equal(left[others], difference[others])
    slid = [i for curve in _CURVES for i in curve if i not in _FIXED]
    lengths = [np.linalg.norm(one[slid, :2], axis=1) for one in (left, difference)]
    assert (lengths[0] <= lengths[1] + 1e-12).all()


def test_the_finest_scales_are_trained_with_numbers_of_their_own():
    pytest.importorskip("tqdm")
    import tomllib

    from train_model import fine_config, training_config

    table = tomllib.loads((RECIPE / "config.toml").read_text(encoding="utf-8"))["training"]
    for name in ("hidden_outline", "covered_outline"):
        del table[name]
    config = training_config(table)
    fine = fine_config(config, table)
    assert fine.scales == (0.8,)
    assert (fine.expert.window, fine.expert.sigma) == (7, 0.8)
    assert (config.expert.window, config.expert.sigma) != (7, 0.8)
    assert fine.draw.max_faces == 3000
    # What the table does not say is as for the others.
    assert fine.expert.n_gradient == config.expert.n_gradient
    assert fine.draw.yaws == config.draw.yaws
    assert fine_config(training_config(table | {"scales": [0.25, 0.5]}), table) is None
    del table["fine"]
    assert fine_config(config, table) is None


def test_make_up_lies_on_lips_lids_and_cheeks():
    from makeup import makeup_maps

    from pyclnf.model import load_model
    from pyclnf.store import resolve

    # x right, y up, z to the camera, as in the head's coordinates; a face that looks ahead.
    points = load_model(resolve(None)).pdm.mean.reshape(3, 68).T * [1, -1, -1] + [0, 0, 120.0]
    size = 360
    side = (np.arange(size, dtype=np.float32) - (size - 1) / 2) / 2
    at = np.stack([*np.meshgrid(side, side), np.full((size, size), 120.0), np.ones((size, size))], -1)
    maps = makeup_maps(at.astype(np.float32), points)
    assert maps.shape == (size, size, 4) and maps.min() >= 0 and maps.max() <= 1

    def there(k, place):
        column, row = np.rint(2 * np.asarray(place)[:2] + (size - 1) / 2).astype(int)
        return maps[row, column, k]

    lips, lids, edges, cheeks = range(4)
    inner = points[[61, 62, 63, 65, 66, 67]]
    outer = points[[49, 50, 51, 52, 53, 55, 56, 57, 58, 59]]
    middle = points[48:60].mean(axis=0)
    for point in inner:
        assert there(lips, point) > 0.9
    for point in outer:
        assert there(lips, middle + 0.8 * (point - middle)) > 0.9
        assert there(lips, middle + 1.4 * (point - middle)) < 0.05
    for above, lid, below, brow in ((37, 37, 41, 19), (44, 44, 46, 24)):
        assert there(lids, 0.8 * points[above] + 0.2 * points[brow]) > 0.8
        assert there(lids, points[brow]) < 0.1
        assert there(lids, points[below] - [0, 4, 0]) < 0.1
        assert there(edges, points[lid]) > 0.8
        assert there(edges, points[lid] + [0, 4, 0]) < 0.1
    assert max(there(lips, points[30]), there(lids, points[30]), there(edges, points[8])) == 0
    assert there(cheeks, (points[36] + points[48]) / 2 - [8, 0, 0]) > 0.9 > 0.3 > there(cheeks, points[33])
    np.testing.assert_allclose(maps[..., 1:], maps[:, ::-1, 1:], atol=1e-5)


def _skin_square():
    """Return a rasteriser, and a function that draws a lit square of skin: texture, Scene's last fields."""
    pytest.importorskip("OpenEXR")
    moderngl = pytest.importorskip("moderngl")
    try:
        moderngl.create_context(standalone=True, backend="egl").release()
    except Exception as error:
        pytest.skip(f"no OpenGL: {error}")
    from raster import Camera, Geometry, Lamp, Material, Part, Rasteriser, Scene, Sky

    square = np.array([[-50, -50, 0], [50, -50, 0], [50, 50, 0], [-50, 50, 0]], np.float32)
    geometry = Geometry(
        square,
        np.tile(np.array([0, 0, 1], np.float32), (4, 1)),
        square[:, :2] / 100 + 0.5,
        np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    )
    zero = np.zeros(4, np.float32)
    sky = Sky(np.ones((8, 16, 3), np.float32), np.eye(3), zero[:3])
    raster = Rasteriser(64, 4, 64, 26, 16)
    flat = np.full((4, 4, 4), 128, np.uint8)
    raster.detail = raster.upload(flat)
    raster.makeup = raster.upload(np.zeros((4, 4, 4), np.uint8))
    raster.uneven = raster.upload(np.array([128, 128, 128, 0], np.uint8) * np.ones((4, 4, 1), np.uint8))

    def drawn(*last, texture=None):
        skin = Part(
            "skin", geometry, Material(texture, specular=0.0), role="face", mask=np.zeros((4, 4), np.float32)
        )  # fmt: skip
        lamp = Lamp(np.array([0, 0, 1], np.float32), np.ones(3, np.float32), 0.01)
        camera = Camera(500.0, 250.0, 64, (31.5, 31.5))
        radiance = np.full((26, 3), 4 * np.pi / 26, np.float32)
        nothing = np.zeros((64, 64, 3), np.float32)
        rest = (zero, zero[:3], zero[:3], zero[:3], sky)
        return raster.render(Scene([skin], camera, lamp, radiance, nothing, *rest, *last))[0]

    return raster, drawn


def test_make_up_is_drawn_where_its_map_says():
    raster, drawn = _skin_square()
    from makeup import MakeUp

    areas = np.zeros((64, 64, 4), np.uint8)
    areas[:, :32, 0] = 255  # lips on the left half
    raster.makeup = raster.upload(areas)
    bare = drawn(MakeUp())
    lips = np.array([0.4, 0.1, 0.05], np.float32)
    painted = drawn(MakeUp(strength=np.array([0.5, 1, 1, 1], np.float32), lips=lips))
    np.testing.assert_array_equal(painted[20:44, 36:44], bare[20:44, 36:44])
    np.testing.assert_allclose(painted[20:44, 20:28], bare[20:44, 20:28] * (0.5 + 0.5 * lips), rtol=0.02)


def test_a_complexion_mixes_skins_and_their_features(tmp_path):
    raster, drawn = _skin_square()
    from complexion import Complexion
    from makeup import MakeUp

    first, second = tmp_path / "first.png", tmp_path / "second.png"
    spot = np.full((64, 64, 3), 120, np.uint8)
    spot[26:38, 26:38] = 60
    cv2.imwrite(str(first), spot)
    cv2.imwrite(str(second), np.full((64, 64, 3), (80, 120, 200), np.uint8))
    one = np.ones(2, np.float32)

    def albedo(complexion):
        shown, white = drawn(MakeUp(), complexion, texture=first), drawn(MakeUp(), Complexion())
        return shown[31, 31] / white[31, 31], shown[31, 44] / white[31, 44]  # spot, skin

    def linear(*blue_green_red):
        return (np.array(blue_green_red[::-1]) / 255) ** 2.2

    dark, grey, other = linear(60, 60, 60), linear(120, 120, 120), linear(80, 120, 200)
    more = 2 * (128 / 255 - 0.5)  # an even map of eight bits is not quite one half
    for complexion, share in (
        (Complexion(), 0.0),
        (Complexion(second, 0.0, one), more),
        (Complexion(second, 0.5, one), 0.5 + more),
        (Complexion(second, 1.0, one), 1.0),
    ):
        on, beside = albedo(complexion)
        np.testing.assert_allclose(on, (1 - share) * dark + share * other, rtol=0.03)
        np.testing.assert_allclose(beside, (1 - share) * grey + share * other, rtol=0.03)
    # Without features and pores the spot is hardly seen; with more of them it is darker.
    on, beside = albedo(Complexion(second, 0.0, np.zeros(2, np.float32)))
    assert (on > 0.8 * beside).all()
    on, _ = albedo(Complexion(second, 0.0, np.full(2, 1.5, np.float32)))
    assert (on < 0.75 * dark).all()
    # Patches: a map that is bright everywhere brightens everything alike.
    narrow = Complexion(second, 0.0, one, np.array([0, 0.3, 0, 0], np.float32))
    before = albedo(narrow)
    raster.uneven = raster.upload(np.array([128, 179, 128, 0], np.uint8) * np.ones((4, 4, 1), np.uint8))
    for bright, dim in zip(albedo(narrow), before, strict=True):
        np.testing.assert_allclose(bright, dim * np.exp(0.3 * 5 * (179 - 128) / 255), rtol=0.03)


def test_complexions_are_drawn_from_skins_about_as_dark():
    from complexion import sample_complexion, uneven_maps

    skins = [Path(f"{name}_diffuse.png") for name in ("dark_a", "dark_b", "light_a", "light_b", "light_c")]
    rng = np.random.default_rng(0)
    drawn = [sample_complexion(rng, skins[2], skins) for _ in range(200)]
    assert {one.second for one in drawn} == set(skins[3:])
    assert {sample_complexion(rng, skins[0], skins).second for _ in range(20)} == {skins[1]}
    gains = np.array([one.gains for one in drawn])
    assert 0.1 <= gains.min() < 0.3 and 1.2 < gains.max() <= 2.0
    maps = uneven_maps(np.random.default_rng(0), 256) / 255
    np.testing.assert_allclose(maps[..., :3].mean((0, 1)), 0.5, atol=0.02)
    np.testing.assert_allclose(maps[..., :3].std((0, 1)), 0.2, atol=0.03)
    assert maps[..., 3].max() == 1 and 0.002 < (maps[..., 3] > 0.5).mean() < 0.1
    # Put side by side there is no border.
    inner = np.abs(np.diff(maps[..., :3], axis=1)).mean((0, 1))
    assert (np.abs(maps[:, 0, :3] - maps[:, -1, :3]).mean(0) < 3 * inner).all()


def test_another_neck_leaves_the_face_alone():
    from types import SimpleNamespace

    from people import Identity, detail_pairs, vary_neck

    ends = ("double-decr", "double-incr", "scale-depth-decr", "scale-depth-incr", "trans-down", "trans-up")
    names = [*(f"neck/neck-{end}" for end in ends), "nose/nose-width-decr", "nose/nose-width-incr"]
    base = SimpleNamespace(names=names, index={name: i for i, name in enumerate(names)})
    assert len(detail_pairs(base)) == 4
    chins = []
    for seed in range(100):
        before = {"neck/neck-double-decr": 0.2, "neck/neck-trans-up": 0.3, "nose/nose-width-incr": 0.4}
        person = Identity(dict(before), np.zeros(3), 0.5, 0.5, {})
        vary_neck(np.random.default_rng(seed), base, person)
        assert {name: person.weights[name] for name in names[5:] if name in person.weights} == {
            "neck/neck-trans-up": 0.3,
            "nose/nose-width-incr": 0.4,
        }
        # One of two opposites at a time, none beyond what the meshes bear.
        double = [person.weights.get(name, 0.0) for name in names[:2]]
        depth = [person.weights.get(name, 0.0) for name in names[2:4]]
        assert 0 in double and 0 in depth and 0 < max(depth) <= 1 and max(double) <= 1.2
        chins.append(double[1])
    assert 0.45 < np.mean(np.array(chins) > 0) < 0.75 and max(chins) > 1


def test_a_form_bends_the_face_and_moves_the_eyes_as_they_are():
    pytest.importorskip("scipy")
    from people import Identity, vary_form

    eyes = np.array([[-32.0, 740.0, 115.0], [32.0, 740.0, 115.0]])
    rng = np.random.default_rng(3)
    right = rng.uniform([-90, 610, 65], [0, 785, 160], (2000, 3))
    face = np.r_[right, right * [-1, 1, 1]]
    lids = (eyes[:, None] + rng.normal(0, 1, (200, 3)) * [10, 5, 5]).reshape(-1, 3)
    lids = lids[np.linalg.norm(lids - np.repeat(eyes, 200, axis=0), axis=1) < 17]
    away = rng.uniform([-80, 500, -100], [80, 540, 100], (200, 3))
    head = np.r_[face, lids, away].astype(np.float32)
    amounts, sides, steepest = [], [], []
    for seed in range(60):
        person = Identity({}, np.zeros(3), 0.5, 0.5, {})
        vary_form(np.random.default_rng(seed), head, eyes, person)
        form = person.form
        assert form is not None and form.shape == head.shape
        on_face = form[: len(face)]
        amounts.append(float(np.sqrt((on_face**2).mean())))
        mirrored = on_face[len(right) :] * [-1, 1, 1]
        sides.append(float(np.corrcoef(on_face[: len(right)].ravel(), mirrored.ravel())[0, 1]))
        # The eyeballs keep their shape, and the lids lie on them as before.
        near = form[len(face) : -len(away)]
        of = lids[:, 0] > 0
        assert max(np.ptp(near[of], axis=0).max(), np.ptp(near[~of], axis=0).max()) < 1e-4
        assert not form[-len(away) :].any()
        # Smooth: what is 2 mm apart moves alike.
        twice = np.concatenate([right, np.add(right, [0, 2.0, 0])]).astype(np.float32)
        vary_form(np.random.default_rng(seed), twice, eyes, person)
        change = person.form[: len(right)] - person.form[len(right) :]
        steepest.append(float(np.abs(change).max()))
    assert max(steepest) < 1.2  # no folds
    assert min(amounts) > 0.2 and max(amounts) < 2.5 and 0.8 < np.median(amounts) < 1.25
    assert 0.5 < np.median(sides) < 0.98  # alike, not the same


def test_a_high_collar_is_cloth_below_the_chin_and_higher_behind():
    from types import SimpleNamespace

    for package in ("moderngl", "OpenEXR", "tqdm"):
        pytest.importorskip(package)
    from scene import FaceFactory

    chin = np.array([0.0, 620.0, 130.0])
    front, behind = ([0.0, y, 130.0] for y in (560, 600, 606, 614, 620)), ([0.0, y, 30.0] for y in (630, 660))
    mask = np.full((7, 4), 0.25, np.float32)
    mask[0, 3] = 1.0
    factory = SimpleNamespace(
        _mean_used=np.array([*front, *behind], np.float32), _mean_points=np.tile(chin, (9, 1)),
        _mask=mask, skin=SimpleNamespace(corner_of_used=np.arange(7)),
    )  # fmt: skip
    cloth = FaceFactory._mask_with_collar(factory, 10.0)
    np.testing.assert_array_equal(cloth[:, :3], mask[:, :3])
    np.testing.assert_allclose(cloth[:, 3], [1, 1, 1, 0.25, 0.25, 1, 0.25])
    assert (mask[1:, 3] == 0.25).all()  # the other people's stays
    low = FaceFactory._mask_with_collar(factory, 40.0)
    np.testing.assert_allclose(low[:, 3], [1, *[0.25] * 6])


def _grid(columns, rows):
    """Return vertices x and y, and quadrilaterals, of a grid seen from the front."""
    x, y = np.meshgrid(columns, rows)
    n = len(columns)
    first = np.arange(x.size).reshape(x.shape)[:-1, :-1].ravel()
    return np.c_[x.ravel(), y.ravel()], np.c_[first, first + 1, first + n + 1, first + n].tolist()


@pytest.fixture
def brow_style(tmp_path):
    """Hair 4 mm thick from x = 14 to 50, painted on pieces before a curved forehead; and the head."""
    for package in ("scipy", "tqdm"):
        pytest.importorskip(package)
    from brows import BrowStyle
    from mesh import Proxy, Surface

    plane, faces = _grid(np.arange(-80.0, 81, 8), np.arange(700.0, 800, 8))
    depth = 140 - plane[:, 0] ** 2 / 100
    front = np.c_[plane, depth]
    head = np.r_[front, front - [0, 0, 6]].astype(np.float32)  # lids have an inner side
    inner = [[v + len(front) for v in face] for face in faces]
    skin = Surface(faces + inner, faces + inner, np.r_[plane, plane] / 1000)
    left, quads = _grid(np.linspace(10, 54, 9), np.linspace(742, 754, 5))
    places = np.r_[left, left * [-1, 1]]
    uv = (left - left.min(0)) / np.ptp(left, axis=0)
    quads += [[v + len(left) for v in face[::-1]] for face in quads]
    texture = np.zeros((240, 880, 4), np.uint8)
    texture[80:160, 80:800, 3] = 255
    cv2.imwrite(str(tmp_path / "brow.png"), texture)
    nearest = np.linalg.norm(plane - places[:, None], axis=2).argmin(1)
    offsets = np.c_[places - plane[nearest], 1 - places[:, 0] ** 2 / 100 + plane[nearest, 0] ** 2 / 100]
    brow = Proxy(
        "brow", Surface(quads, quads, np.r_[uv, uv]), tmp_path / "brow.png",
        np.repeat(nearest[:, None], 3, 1), np.tile([1.0, 0, 0], (len(places), 1)), offsets / 100, [],
    )  # fmt: skip
    lid = np.array([[17.0, 731.0], [25, 737], [33, 737], [41, 734]])
    return BrowStyle(brow, head, skin, lid), head


def _brow_points(style, head, **change):
    from brows import BrowShape

    return style.points(style.shaped(BrowShape(**change)), head)


def test_a_brow_keeps_its_place_on_the_skin(brow_style):
    from brows import BrowShape

    style, head = brow_style
    assert style.thickness == pytest.approx(4, abs=0.5)
    as_it_is = style.points(style.brow, head)
    np.testing.assert_allclose(as_it_is[5:, 0], np.linspace(14, 50, 5), atol=0.6)
    np.testing.assert_allclose(as_it_is[5:9, 1], 750, atol=0.6)
    np.testing.assert_allclose(as_it_is[:5], as_it_is[:4:-1] * [-1, 1, 1], atol=1e-4)
    moved = _brow_points(style, head)
    # It hangs 0.8 mm before the skin, whose normal is (x / 50, 0, 1).
    slope = as_it_is[:, 0] / 50
    np.testing.assert_allclose(moved[:, 0], as_it_is[:, 0] + 0.8 * slope / np.hypot(slope, 1), atol=0.1)
    np.testing.assert_allclose(moved[:, 1], as_it_is[:, 1], atol=0.1)
    # All of the piece lies before the outer skin, also between its corners, and follows it.
    piece = style.shaped(BrowShape(height=-3, thickness=7))
    triangles = piece.surface.mesh_triangles
    for grown in (head, head * np.array([1.1, 1.0, 0.9], np.float32)):
        middle = piece.fit(grown)[triangles].mean(1)
        skin = np.interp(middle[:, 0], grown[:21, 0], grown[:21, 2])
        assert (middle[:, 2] > skin + 0.4).all() and (middle[:, 2] < skin + 1.5).all()


def test_a_brow_takes_the_shape_that_it_is_given(brow_style):
    style, head = brow_style
    before = _brow_points(style, head)
    longer = _brow_points(style, head, inner=2.0, length=0.5)
    np.testing.assert_allclose(longer[5:, 0], 16 + (before[5:, 0] - 14) / 2, atol=0.3)
    fuller = _brow_points(style, head, thickness=2 * style.thickness)
    np.testing.assert_allclose(fuller[5:9, 1] - before[5:9, 1], style.thickness / 2, atol=0.3)
    np.testing.assert_allclose(fuller[9, 1], before[9, 1], atol=0.3)
    higher = _brow_points(style, head, height=3.0, tilt=4.0)
    np.testing.assert_allclose(higher[5:, 1] - before[5:, 1], np.linspace(1, 5, 5), atol=0.2)
    # However low it is asked to lie, 5 mm above the lid remain free of its 4 mm.
    low = _brow_points(style, head, height=-30.0)
    assert low[6:8, 1].min() == pytest.approx(737 + 5 + 4, abs=0.6)


def test_brows_of_men_lie_lower_and_are_fuller():
    from brows import BrowShape, sample_brow_shape

    rng = np.random.default_rng(0)
    men, women = ([sample_brow_shape(rng, male) for _ in range(300)] for male in (True, False))
    for name, sign in (("height", -1), ("thickness", 1), ("arch", -1)):
        difference = [np.mean([getattr(one, name) for one in group]) for group in (men, women)]
        assert sign * (difference[0] - difference[1]) > 0.2
    assert all(isinstance(one, BrowShape) and 0.7 < one.length < 1.2 for one in men + women)


def test_a_halved_surface_is_the_same_surface():
    from brows import _halved
    from mesh import Surface

    plane, faces = _grid(np.arange(4.0), np.arange(3.0))
    surface = Surface(faces, faces, plane / 3)
    fine, vertices = _halved(surface, np.c_[plane, plane[:, 0] * 2])
    assert len(fine.triangles) == 4 * len(surface.triangles)
    np.testing.assert_array_equal(vertices[: len(plane), :2], plane)
    assert len(vertices) == 7 * 5
    np.testing.assert_allclose(fine.uv[fine.triangles], vertices[fine.mesh_triangles][..., :2] / 3, atol=1e-6)
    corners = vertices[fine.mesh_triangles][..., :2]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    assert (area > 0).all() and area.sum() / 2 == pytest.approx(6)


def test_the_light_changes_around_the_face_alone():
    from photo import relight_around

    angle = np.linspace(np.pi, 0, 17)
    landmarks = np.full((68, 2), 60.0)
    landmarks[:17] = np.c_[60 + 30 * np.cos(angle), 45 + 40 * np.sin(angle)]
    grey = np.full((120, 120), 100, np.uint8)
    factors = []
    for seed in range(40):
        lit = relight_around(grey, landmarks, np.random.default_rng(seed))
        assert lit.shape == grey.shape
        np.testing.assert_allclose(lit[10:40, 52:68], 100, atol=0.5)  # the face
        factors.append([lit[45, 3] / 100, lit[118, 60] / 100, lit[45, 117] / 100])
    low, high = np.min(factors, axis=0), np.max(factors, axis=0)
    assert (low > 0.3).all() and (low < 0.8).all() and (high > 1.25).all() and (high < 4).all()
    # Each place has its own light, and often none of its own.
    assert (np.abs(np.diff(factors, axis=1)) > 0.1).any(axis=0).all()
    assert (np.abs(np.array(factors) - 1) < 1e-3).any(axis=0).all()
    # A nose beyond the outline, as in a profile: that side keeps its light.
    landmarks[30] = [100, 50]
    for seed in range(20):
        lit = relight_around(grey, landmarks, np.random.default_rng(seed))
        np.testing.assert_allclose(lit[25:42, 98:], 100, atol=0.5)
    # An outline that leaves the picture is no error.
    assert np.isfinite(relight_around(grey, landmarks * 50 - 2000, np.random.default_rng(0))).all()


def test_a_narrow_shadow_lies_below_some_chins():
    from photo import relight_around

    angle = np.linspace(np.pi, 0, 17)
    landmarks = np.full((68, 2), [120.0, 80.0])
    landmarks[:17] = np.c_[120 + 60 * np.cos(angle), 90 + 80 * np.sin(angle)]
    grey, dips = np.full((240, 240), 100, np.uint8), 0
    for seed in range(60):
        below = relight_around(grey, landmarks, np.random.default_rng(seed))[:, 120]
        np.testing.assert_allclose(below[60:150], 100, atol=0.5)  # the face
        dark = below[168:180].argmin() + 168
        if below[dark] < 0.8 * min(below[150], below[200]):
            dips += 1
            assert dark < 177
    assert 5 < dips < 25


def test_how_far_landmarks_differ_with_the_box(capsys):
    from types import SimpleNamespace

    from evaluate import print_spread

    solid = np.random.default_rng(3).normal(0, 30, (68, 3))
    solid[45] = solid[36] + [90, 0, 0]
    data = SimpleNamespace(
        landmarks=np.stack([0.5 * solid[:, :2], 2 * solid[:, :2]]),
        landmarks3d=np.stack([solid, solid]), pose=np.radians([[0, 2, 0], [0, -20, 0]]),
    )  # fmt: skip
    aside = np.array([[[0, 0]], [[3, 4]]])  # px, of the first and the second face
    print_spread(data.landmarks + np.stack([aside, -aside]), data, np.arange(2))
    found = [line.split() for line in capsys.readouterr().out.replace("- ", "-").splitlines()]
    far = 5 / 180  # the second face's eye corners are 180 px apart
    expected = {"0-5": 0.0, "0-15": 0.0, "15-30": far, "0-90": far / 2}
    assert {line[1]: float(line[-1]) for line in found} == pytest.approx(expected, abs=1e-4)


def test_pictures_are_changed_the_same_each_time(tmp_path):
    from dataset import load_dataset, write_shard
    from evaluate import changed_picture

    rows, angle = [_row(i, 100) for i in range(60)], np.linspace(np.pi, 0, 17)
    for row in rows:
        row["image"] = np.random.default_rng(row["identity"]).integers(0, 256, (64, 64, 3), np.uint8)
        row["landmarks"][:17] = np.c_[32 + 16 * np.cos(angle), 26 + 20 * np.sin(angle)]
        row["landmarks"][17:] = 32
    write_shard(tmp_path / "shard_00000.npz", rows, 95)
    data, differ = load_dataset(tmp_path), {"unlike": 0, "around": 0}
    for i in range(len(rows)):
        np.testing.assert_array_equal(changed_picture(data, i, "none"), data.image(i))
        for change in ("unlike", "around"):
            one = changed_picture(data, i, change)
            assert one.dtype == np.uint8 and one.shape == (64, 64)
            np.testing.assert_array_equal(changed_picture(data, i, change), one)
            differ[change] += (one != data.image(i, grey=True)).any()
    # Now and then the light stays as it is.
    assert differ["unlike"] == len(rows) > differ["around"] > len(rows) / 2


def test_people_in_videos_move_without_a_jump_and_blink_once():
    for package in ("moderngl", "OpenEXR"):
        pytest.importorskip(package)
    from motion import FRAMES, sample_motion

    config = tomllib.loads((RECIPE / "config.toml").read_text())
    still = 0
    for seed in range(40):
        seconds = [
            [sample_motion(np.random.default_rng(seed), config).at(frame) for frame in range(FRAMES)]
            for _ in range(2)
        ]
        assert seconds[0] == seconds[1]
        expressions, poses = zip(*seconds[0], strict=True)
        angles = np.array([(pose.yaw, pose.pitch, pose.roll) for pose in poses])
        still += not np.ptp(angles, axis=0).any()
        # Of 20 degrees to either side once a second.
        assert np.abs(np.diff(angles, axis=0)).max() < 20 * 2 * np.pi / 25
        names = set().union(*(expression.weights for expression in expressions))
        weights = np.array(
            [[expression.weights.get(name, 0.0) for name in names] for expression in expressions]
        )
        assert np.abs(np.diff(weights, axis=0)).max() < 0.8
        lids = np.array([expression.weights["fu/eyeBlinkLeft"] for expression in expressions])
        assert (lids >= 1).any()
    assert 5 < still < 25


def _said_of(module, monkeypatch, capsys, *arguments):
    """What a script says when it refuses what it is called with."""
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        module.main()
    assert left.value.code == 2
    return capsys.readouterr().err


def test_a_measurement_refuses_options_it_has_no_use_for(tmp_path, monkeypatch, capsys):
    import evaluate
    from dataset import write_shard

    write_shard(tmp_path / "shard_00000.npz", [_row(i, 100) for i in range(4)], 95)

    def said(*options):
        return _said_of(evaluate, monkeypatch, capsys, tmp_path, *options)

    assert "give --tracks" in said("--jump", "0.3")
    assert "no use for --pose" in said("--tracks", "--pose")
    assert "no use for --images" in said("--tracks", "--images", "20")
    assert "does not hold videos" in said("--tracks")
    assert "300 pictures are asked for, of 0" in said()


def test_pictures_of_people_held_out_are_drawn_by_lot(tmp_path):
    from dataset import load_dataset, pictures_held_out, write_shard

    write_shard(tmp_path / "shard_00000.npz", [_row(i, 100) for i in range(200)], 95)
    data = load_dataset(tmp_path)
    assert pictures_held_out(data, 3, None).tolist() == [9, 19, 29]
    some = pictures_held_out(data, 8, 0)
    assert data.held_out[some].all() and len(set(some.tolist())) == 8 and (np.diff(some) > 0).all()
    assert some.tolist() != pictures_held_out(data, 8, 5).tolist()
    assert len(pictures_held_out(data, 300, 0)) == 20
    with pytest.raises(ValueError, match="0 pictures are asked for, of 20"):
        pictures_held_out(data, 0, 0)


def test_a_picture_is_fitted_once_for_points_and_pose(monkeypatch):
    """The pose is that before the camera that took the picture, also where it is fitted in a smaller one."""
    from types import SimpleNamespace

    from evaluate import evaluate

    from pyclnf import CLNF, Camera
    from pyclnf.camera import head_pose

    clnf, image = CLNF(), cv2.imread(str(RECIPE.parents[1] / "examples/rendered_face.jpg"))
    labels, _ = clnf.fit(image, (165, 108, 222, 267))
    landmarks, info = clnf.fit(image, (*labels.min(axis=0), *np.ptp(labels, axis=0)))
    wide = (image.shape[1] - 1) / 2
    data = SimpleNamespace(
        landmarks=labels[None],
        landmarks3d=clnf.model.pdm.shape_3d(info["params"].shape)[None],
        camera=np.array([[600.0, 900.0, wide, 200.0]]),
        image=lambda i: image,
    )
    camera, fits = Camera(900, 900, wide, 200), []
    fit = clnf.fit
    monkeypatch.setattr(clnf, "fit", lambda *given: fits.append(given) or fit(*given))
    result = evaluate(clnf, data, np.arange(1), off=0.0)
    assert len(fits) == 1
    np.testing.assert_array_equal(result["landmarks"][0], landmarks)
    assert result["points"].shape == (1, 68) and 0 < result["error"] < 0.02
    assert result["error"] == pytest.approx(result["points"].mean())
    wanted = head_pose(clnf.model.pdm, info["params"], landmarks, camera)[3:]
    np.testing.assert_allclose(result["pose"][0], wanted, atol=1e-9)
    small = evaluate(clnf, data, np.arange(1), off=0.0, size=120)
    assert len(fits) == 2 and fits[1][0].shape[0] < image.shape[0] / 1.5
    np.testing.assert_allclose(small["pose"][0], wanted, atol=np.radians(2))
    assert 0 < small["error"] < 0.04


def test_a_mistake_in_a_trial_is_named_before_any_fit(tmp_path, monkeypatch, capsys):
    import tune
    from dataset import write_shard

    from pyclnf.store import resolve

    rows = [_row(i, 100) | {"meta": json.dumps({"palsy_side": 0})} for i in range(20)]
    write_shard(tmp_path / "shard_00000.npz", rows, 95)
    model = resolve(None)
    measured = []

    def evaluate(clnf, data, chosen, change):
        measured.append(clnf.parameters.reg_factor)
        n = len(chosen)
        return {
            "landmarks": data.landmarks[chosen], "points": np.full((n, 68), 0.05), "error": np.full(n, 0.05),
            "seconds": np.zeros(n),
        }  # fmt: skip

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["tune.py", str(tmp_path), str(model), *options])
        tune.main()

    monkeypatch.setattr(tune, "evaluate", evaluate)
    with pytest.raises(ValueError, match="ten"):
        run("--try", "reg_factor=10,ten")
    assert measured == []
    run("--try", "reg_factor=10,30")
    assert measured == [20.0, 10.0, 30.0]
    # None of the two people held out has a palsy, of which a slope would be told.
    assert capsys.readouterr().out.count("slopes [] (0)") == 3


def test_the_bound_of_failed_fits_is_written_into_the_model(tmp_path, monkeypatch, capsys):
    import failure_bound

    from pyclnf import CLNF, Model

    clnf, image = CLNF(), cv2.imread(str(RECIPE.parents[1] / "examples/rendered_face.jpg"))
    labels, _ = clnf.fit(image, (165, 108, 222, 267))
    path, before = tmp_path / "model.npz", clnf.model.metadata["min_likelihood"]
    clnf.model.save(path)

    class Pictures:
        def __init__(self, count):
            self.landmarks = [labels] * count

        def __len__(self):
            return len(self.landmarks)

        def image(self, i):
            return image

    def run(count, *options):
        monkeypatch.setattr(failure_bound, "load_dataset", lambda *_, **__: Pictures(count))
        monkeypatch.setattr(sys, "argv", ["failure_bound.py", "renders", *map(str, options)])
        return failure_bound.main()

    assert run(1, "--model", path) == 0
    assert Model.load(path).metadata["min_likelihood"] == before
    for count, options, said in (
        (1, ["--model", path, "--write"], "20 of each are needed"),
        (0, ["--model", path], "0 right fits"),
        (1, ["--model", "default", "--write"], "default is no file"),
    ):
        with pytest.raises(SystemExit):
            run(count, *options)
        assert said in capsys.readouterr().err
    run(20, "--model", path, "--write")
    said = capsys.readouterr().out
    bounds = [float(line.split()[1].rstrip(":")) for line in said.splitlines() if " bound " in line]
    assert len(bounds) == 2 and 0 < min(bounds) < 1.1
    assert Model.load(path).metadata["min_likelihood"] == pytest.approx(min(bounds), abs=0.005)


def test_a_confidence_is_not_calibrated_with_too_few_fits():
    from confidence import tested

    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(9, 300, 10), 4)
    right = rng.random(len(people)) < 0.5
    rows = np.c_[0.4 + 0.5 * right + rng.normal(0, 0.2, len(people)), right * 0.0, right * 0.0, right, people]
    assert tested("image", rows, 2)["likelihood"] > 1
    rows[people > 20, 3] = 1
    with pytest.raises(ValueError, match="too few fits are wrong"):
        tested("image", rows, 2)


def test_how_right_and_steady_landmarks_in_videos_are(capsys):
    from types import SimpleNamespace

    from dataset import eye_distances
    from evaluate import print_jumps, print_tracks

    from pyclnf import CLNF, Tracker

    clnf, image = CLNF(parameters="video"), cv2.imread(str(RECIPE.parents[1] / "examples/rendered_face.jpg"))
    tracker = Tracker(clnf, detector=lambda _: np.array([[165, 108, 222, 267, 1]]))
    faces = [tracker.update(image)[0] for _ in range(4)]
    data = SimpleNamespace(
        identity=np.zeros(4, int),
        landmarks=np.array([face.landmarks for face in faces]),
        landmarks3d=np.array([faces[0].landmarks_3d] * 4),
        image=lambda i: image,
    )
    # Labels that lie aside of what is found in one frame, by a tenth of the eyes' distance.
    data.landmarks[2, :, 0] += 0.1 * eye_distances(data)[0]
    print_tracks(clnf, data, smooth=False)
    said, jitter, lids = capsys.readouterr().out.splitlines()
    # The box is another one, by which the landmarks differ a little.
    assert float(said.split("mean")[1].split()[0]) == pytest.approx(0.1 / 4, abs=0.004)
    assert float(jitter.split("rms")[1]) == pytest.approx(0.1 * np.sqrt(2 / 3), abs=0.004)
    assert float(lids.split("error")[1]) < 0.004
    assert said.endswith("lost 0")
    # Frames without a face are counted, and leave the other figures as they are.
    longer = SimpleNamespace(
        identity=np.zeros(14, int),
        landmarks=np.array([faces[0].landmarks] * 14),
        landmarks3d=np.array([faces[0].landmarks_3d] * 14),
        image=lambda i: image if i else np.zeros_like(image),
    )
    print_tracks(clnf, longer, smooth=False)
    said, jitter, lids = capsys.readouterr().out.splitlines()
    lost = int(said.split("lost")[1])
    assert 0 < lost < 14 and int(said.split()[2]) == 14 - lost
    assert all(float(line.split(name)[1].split()[0]) < 0.004 for line, name in (
        (said, "mean"), (jitter, "rms"), (lids, "error"),
    ))  # fmt: skip
    # The same labels, where the picture moves by a third of the face; and by so much that it is lost.
    print_jumps(clnf, data, 0.3)
    near = capsys.readouterr().out
    assert float(near.split("mean")[1].split()[0]) == pytest.approx(0.1 / 4, abs=0.01)
    print_jumps(clnf, data, 1.0)
    assert float(capsys.readouterr().out.split("mean")[1].split()[0]) > 0.3


def test_pictures_are_shrunk_and_coordinates_with_them():
    from evaluate import shrunk

    image = np.zeros((300, 400, 3), np.uint8)
    image[100:180, 40:240] = 255
    bright = np.array([39.5, 99.5, 200.0, 80.0])
    small, box, factors = shrunk(image, bright, 31.6227766)
    assert small.shape == (75, 100, 3)
    np.testing.assert_allclose(factors, 0.25)
    # Edges of pixels stay edges.
    np.testing.assert_allclose(box, [9.5, 24.5, 50.0, 20.0])
    assert (small[25:45, 10:60] == 255).all() and small.sum() == 50 * 20 * 3 * 255
    same, box, factors = shrunk(image, bright, np.inf)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(box, bright)
    np.testing.assert_array_equal(factors, 1.0)


def test_boxes_are_disturbed_as_much_as_is_said():
    from evaluate import disturbed_box

    landmarks, rng = np.array([[10.0, 20.0], [110.0, 70.0], [60.0, 40.0]]), np.random.default_rng(0)
    for off in (0.1, 0.35):
        boxes = np.array([disturbed_box(landmarks, rng, off) for _ in range(2000)])
        shift = (boxes[:, :2] + boxes[:, 2:] / 2 - [60, 45]) / [100, 50]
        growth = boxes[:, 2:] / [100, 50]
        np.testing.assert_allclose(np.abs(shift).max(axis=0), off, rtol=0.02)
        np.testing.assert_allclose([growth.min(), growth.max()], [1 - 1.5 * off, 1 + 1.5 * off], rtol=0.02)
