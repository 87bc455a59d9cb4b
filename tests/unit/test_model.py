import dataclasses
import gc
import io
import json
import os
import pickle
import struct
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generate_model import generate_model, tiny_model
from pyclnf.errors import ModelError, ParameterError
from pyclnf.model import Model, Part, load_model
from pyclnf.openface import read_model
from pyclnf.patch_experts import PatchScale, ViewExperts

FUNCTION_FIXTURES = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def model() -> Model:
    return generate_model(parts=True)


@pytest.fixture(scope="module")
def tiny_bytes(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    tiny_model().save(path)
    return path.read_bytes()


def view_arrays(model: Model) -> dict[str, np.ndarray]:
    return {
        f"{scale.scale} {i} {field.name}": getattr(scale.view(i), field.name)
        for scale in model.scales
        for i in range(scale.n_views)
        for field in dataclasses.fields(ViewExperts)
    }


def assert_same(a: Model, b: Model, weights_atol: float = 0.0) -> None:
    """Two models hold the same numbers of the same types."""
    assert (a.name, a.metadata, set(a.arrays)) == (b.name, b.metadata, set(b.arrays))
    arrays = [(a.arrays[name], b.arrays[name]) for name in a.arrays]
    arrays += [(getattr(a.pdm, n), getattr(b.pdm, n)) for n in ("mean", "components", "eigenvalues")]
    assert (a.triangles is None) == (b.triangles is None)
    if a.triangles is not None:
        arrays.append((a.triangles, b.triangles))
    for one, other in zip(a.scales, b.scales, strict=True):
        assert one.scale == other.scale
        assert set(one.sigma_components) == set(other.sigma_components)
        arrays += [(one.centres, other.centres), (one.visible, other.visible)]
        arrays += [(c, other.sigma_components[w]) for w, c in one.sigma_components.items()]
    for one, other in arrays:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    views, other_views = view_arrays(a), view_arrays(b)
    assert set(views) == set(other_views)
    for key, array in views.items():
        assert array.dtype == other_views[key].dtype
        atol = weights_atol if key.endswith(" weights") else 0.0
        np.testing.assert_allclose(array, other_views[key], rtol=0, atol=atol, err_msg=key)
    for one, other in zip(a.parts, b.parts, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.mapping, other.mapping)
        assert_same(one.model, other.model, weights_atol)


# --- the model


def test_the_same_seed_gives_the_same_model(model):
    assert_same(model, generate_model(parts=True))
    assert not np.array_equal(generate_model(1).scales[0].view(0).weights, model.scales[0].view(0).weights)


def test_models_that_do_not_fit_together(model):
    tiny = tiny_model()
    with pytest.raises(ModelError, match="at least one scale"):
        Model(tiny.pdm, [])
    with pytest.raises(ModelError, match="for 4 landmarks, the PDM has 68"):
        Model(model.pdm, tiny.scales)
    with pytest.raises(ModelError, match="coarse to fine"):
        Model(model.pdm, model.scales[::-1])
    with pytest.raises(ModelError, match="coarse to fine"):
        Model(tiny.pdm, tiny.scales * 2)
    for triangles in (
        np.array([[0, 1, 4]]),
        np.array([[0, 1, -1]]),
        np.array([0, 1, 2]),
        np.zeros((1, 4), int),
    ):
        with pytest.raises(ModelError, match="triangles"):
            Model(tiny.pdm, tiny.scales, triangles=triangles)
    with pytest.raises(ModelError, match="parts of its own"):
        Part("nested", model, np.array([[0, 0]]))
    for mapping in (np.zeros((0, 2), int), np.array([0, 1]), np.array([[0, 4]]), np.array([[0, 0], [1, 0]])):
        with pytest.raises(ModelError, match="the mapping of the part 'p'"):
            Part("p", tiny, mapping)
    with pytest.raises(ModelError, match="does not have"):
        Model(tiny.pdm, tiny.scales, parts=[Part("p", tiny, np.array([[4, 0]]))])


# --- save and load


@pytest.mark.parametrize("wrong", [np.array([object()]), np.array([np.nan]), np.array([1j]), "text"])
def test_arrays_that_no_file_can_hold(tmp_path, wrong):
    """They were written, and could not be read."""
    tiny = tiny_model()
    model = Model(tiny.pdm, tiny.scales, arrays={"x": wrong})
    with pytest.raises(ModelError, match=r"the array 'arrays/x'.* no finite number"):
        model.save(tmp_path / "m.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compress", [False, True])
def test_round_trip(model, tmp_path, compress):
    path = tmp_path / "model.npz"
    model.save(path, compress=compress)
    assert_same(load_model(path), model)
    assert_same(Model.load(str(path)), model)
    assert [file.name for file in tmp_path.iterdir()] == ["model.npz"]
    with np.load(path, allow_pickle=False) as arrays:
        assert str(arrays["format"]) == "pyclnf-model"
        assert int(arrays["version"]) == 1
        assert json.loads(arrays["metadata"].tobytes()) == {"licence": "MIT", "seed": 0}
        assert all(np.isfinite(arrays[key]).all() for key in arrays.files if arrays[key].dtype.kind == "f")


def test_the_same_model_gives_the_same_file(model, tmp_path):
    model.save(tmp_path / "a.npz")
    Model.load(tmp_path / "a.npz").save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_float16_weights(model, tmp_path):
    model.save(tmp_path / "full.npz")
    model.save(tmp_path / "half.npz", dtype="float16")
    weights = sum(array.nbytes for key, array in view_arrays(model).items() if key.endswith(" weights"))
    weights += sum(a.nbytes for k, a in view_arrays(model.parts[0].model).items() if k.endswith(" weights"))
    saved = (tmp_path / "full.npz").stat().st_size - (tmp_path / "half.npz").stat().st_size
    assert saved == weights // 2
    largest = max(np.abs(a).max() for k, a in view_arrays(model).items() if k.endswith(" weights"))
    assert_same(Model.load(tmp_path / "half.npz"), model, weights_atol=largest * 2**-11)
    with pytest.raises(ParameterError, match="'int8'"):
        model.save(tmp_path / "model.npz", dtype="int8")


def test_weights_too_large_for_float16_leave_the_old_file(tmp_path):
    tiny = tiny_model()
    path = tmp_path / "model.npz"
    tiny.save(path)
    before = path.read_bytes()
    tiny.scales[0].view(0).weights[0, 0, 0, 0] = 1e5
    with pytest.raises(ModelError, match="too large for float16"):
        tiny.save(path, dtype="float16")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.npz"]


def test_a_model_that_cannot_be_written(tmp_path):
    with pytest.raises(ModelError, match="cannot be written"):
        tiny_model().save(tmp_path / "no such folder" / "model.npz")
    with pytest.raises(ModelError, match="metadata"):
        Model(tiny_model().pdm, tiny_model().scales, metadata={"x": float("nan")}).save(tmp_path / "m.npz")
    # What could not be read again.
    long = {"notes": "x" * 2**20}
    with pytest.raises(ModelError, match=r"metadata have 1048589 bytes, at most 1048576 are read"):
        Model(tiny_model().pdm, tiny_model().scales, metadata=long).save(tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_scale": 0.01}, "max_scale must be a number from 0.125 on"),
        ({"fit": {"image": {"windows": 11}}}, "fit/image/windows must be whole numbers"),
        ({"fit": {"image": {"iterations": "8"}}}, "fit/image/iterations must be a number"),
        ({"confidence": {"image": {"intercept": 1}}}, "confidence must be three numbers a set"),
    ],
)
def test_metadata_changed_into_what_cannot_be_read_are_not_saved(tmp_path, change, message):
    changed = tiny_model()
    changed.metadata |= {"fit": {"image": {"windows": np.array([9, 11]).tolist(), "iterations": np.int64(8)}}}
    changed.save(tmp_path / "good.npz")
    assert Model.load(tmp_path / "good.npz").metadata["fit"]["image"]["iterations"] == 8
    changed.metadata |= change
    with pytest.raises(ModelError, match=message):
        changed.save(tmp_path / "bad.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["good.npz"]


def test_pickle_does_not_need_the_file(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    loaded = Model.load(path)
    data = pickle.dumps(loaded)
    path.unlink()
    assert_same(pickle.loads(data), model)
    assert_same(pickle.loads(pickle.dumps(model)), model)


def test_views_are_read_when_needed(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    tracemalloc.start()
    try:
        loaded = Model.load(path)
        sigma = sum(c.nbytes for s in loaded.scales for c in s.sigma_components.values())
        # What opening left in cycles may be freed at any time.
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for scale in loaded.scales:
            scale.view(0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    one_view = sum(a.nbytes for key, a in view_arrays(model).items() if key.split()[1] == "0")
    # Opened: the PDM, the sigma components (the part's too) and the directory; then one view a scale.
    assert before < sigma * 4 / 3 + 500_000
    assert one_view <= after - before < 1.2 * one_view


def test_threads_load_each_view_once(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    loaded = Model.load(path)
    n_threads = 8
    start = threading.Barrier(n_threads)

    def read_all(_: int) -> list[ViewExperts]:
        start.wait()
        return [scale.view(i) for scale in loaded.scales for i in range(scale.n_views)]

    with ThreadPoolExecutor(n_threads) as pool:
        results = list(pool.map(read_all, range(n_threads)))
    assert all(one is other for views in results[1:] for one, other in zip(views, results[0], strict=True))
    assert_same(loaded, model)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_processes_read_views_on_their_own(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    loaded = Model.load(path)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                assert_same(loaded, model)
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4


def test_a_file_that_was_replaced_is_noticed(tmp_path):
    path = tmp_path / "model.npz"
    tiny_model(0).save(path)
    loaded = Model.load(path)
    tiny_model(1).save(path)
    with pytest.raises(ModelError, match="has changed since"):
        loaded.scales[0].view(0)
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        loaded.scales[0].view(1)


# --- damaged and foreign files


def load_everything(path: Path) -> Model:
    """Load a model with all views and check that every number is finite."""
    model = load_model(path)
    arrays = [*view_arrays(model).values(), *model.arrays.values(), model.pdm.mean]
    assert all(np.isfinite(array).all() for array in arrays)
    return model


def test_truncated_files(tiny_bytes, tmp_path):
    path = tmp_path / "cut.npz"
    ends = [info.header_offset for info in zipfile.ZipFile(io.BytesIO(tiny_bytes)).infolist()]
    directory = tiny_bytes.index(b"PK\1\2")
    last = len(tiny_bytes)
    for size in sorted({0, 1, 3, *ends, directory, *range(directory, last, 37), last - 22, last - 1}):
        path.write_bytes(tiny_bytes[:size])
        with pytest.raises(ModelError, match=r"cut\.npz"):
            load_model(path)
    for extra in (b"\0", b"PK\5\6", tiny_bytes):
        path.write_bytes(tiny_bytes + extra)
        if extra is not tiny_bytes:
            with pytest.raises(ModelError, match=r"cut\.npz"):
                load_model(path)
    path.write_bytes(tiny_bytes)
    load_everything(path)


@settings(max_examples=400, deadline=None, suppress_health_check=FUNCTION_FIXTURES)
@given(data=st.data())
def test_changed_bytes(tiny_bytes, tmp_path, data):
    damaged = bytearray(tiny_bytes)
    # The directory is a tenth of the file and has most of what can go wrong.
    first = data.draw(st.sampled_from([0, tiny_bytes.index(b"PK\1\2")]))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(first, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.npz"
    path.write_bytes(damaged)
    tracemalloc.start()
    try:
        load_everything(path)
    except ModelError as error:
        assert str(path) in str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2_000_000


@settings(max_examples=100, deadline=None, suppress_health_check=FUNCTION_FIXTURES)
@given(content=st.binary(max_size=300))
def test_foreign_files(tmp_path, content):
    path = tmp_path / "foreign.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"foreign\.npz"):
        load_model(path)


def test_what_is_no_model(tmp_path):
    for path in (tmp_path / "gone.npz", tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            Model.load(path)
    for name in ("x" * 5000, "x" * 5000 + ".txt", "x\0y", ""):
        with pytest.raises(ModelError):
            load_model(tmp_path / "deep" / name)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ModelError, match=r"other\.npz, 'format': is missing"):
        load_model(tmp_path / "other.npz")
    np.savez(tmp_path / "other.npz", format=np.array("other-model"))
    with pytest.raises(ModelError, match=r"not a model of pyclnf \(format 'other-model'\)"):
        load_model(tmp_path / "other.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ModelError, match=r"'readme\.txt' is no array"):
        load_model(tmp_path / "text.npz")


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=True)
    return file.getvalue()


def raw_npy(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode("latin1") + content


def changed(tiny_bytes: bytes, path: Path, key: str, content: bytes | None) -> Path:
    """Write the tiny model with one member replaced, its checksum right, or left out."""
    with zipfile.ZipFile(io.BytesIO(tiny_bytes)) as old, zipfile.ZipFile(path, "w") as new:
        assert content is not None or f"{key}.npy" in old.namelist()
        for name in old.namelist():
            if name != f"{key}.npy":
                new.writestr(name, old.read(name))
        if content is not None:
            new.writestr(f"{key}.npy", content)
    return path


HEADER = "{{'descr': {0}, 'fortran_order': False, 'shape': {1}, }}\n"


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("version", npy(np.array(2)), "format version 2; this release reads version 1"),
        ("version", npy(np.array(1.0)), "is float64, which does not fit into int64"),
        ("version", npy(np.array([1])), r"has shape \(1,\), not \(\)"),
        ("format", npy(np.array(1)), "is not what"),
        ("format", npy(np.array(b"pyclnf-model")), "is not what this array may hold"),
        ("format", raw_npy(HEADER.format("'<U1'", "()"), b"\xff\xff\xff\x7f"), "not a text"),
        ("format", npy(np.array(["pyclnf-model"])), "not a text"),
        ("metadata", npy(np.frombuffer(b"[1]", np.uint8)), "not a JSON object"),
        ("metadata", npy(np.frombuffer(b"{", np.uint8)), "not JSON"),
        ("metadata", npy(np.frombuffer(b'{"a": NaN}', np.uint8)), "NaN is not a finite number"),
        ("metadata", npy(np.frombuffer(b"\xff\xfe", np.uint8)), "not JSON"),
        ("metadata", npy(np.frombuffer(b"[" * 100_000, np.uint8)), "not JSON"),
        ("metadata", npy(np.full(2**20 + 1, ord("1"), np.uint8)), "longer than 1048576 bytes"),
        ("name", npy(np.array("x" * (2**18 + 1))), r"1048\d+ bytes, more than 1048576"),
        ("pdm/mean", npy(np.full(12, np.nan)), "holds values that are not finite"),
        ("pdm/mean", npy(np.zeros(11)), r"'pdm/components': has shape \(12, 2\), not \(11, 2\)"),
        ("pdm/eigenvalues", npy(np.array([1.0, -1.0])), "eigenvalues must all be positive"),
        ("pdm/mean", npy(np.array([{}], dtype=object)), "is not what this array may hold"),
        ("pdm/mean", npy(np.zeros(2, "f8,i4")), "is not what this array may hold"),
        ("pdm/mean", npy(np.zeros(12, complex)), "is not what this array may hold"),
        ("pdm/mean", npy(np.zeros(12, "M8[s]")), "is not what this array may hold"),
        ("pdm/mean", b"", "the header is damaged"),
        ("pdm/mean", b"\x93NUMPY\3\0" + bytes(20), "the header is damaged"),
        ("pdm/mean", raw_npy("(" * 5000), "the header is damaged"),
        ("pdm/mean", raw_npy("__import__('os').getcwd()\n"), "the header is damaged"),
        ("pdm/mean", raw_npy(HEADER.format("'<f8'", "(2147483647,)")), r"float64 of shape .*but 0 bytes"),
        ("pdm/mean", raw_npy(HEADER.format("'<f8'", "(-1, -1)"), bytes(8)), r"float64 of shape \(-1, -1\)"),
        ("pdm/mean", raw_npy(HEADER.format("'<f8'", "(0, 4611686018427387904, 4)")), r"'pdm/mean': .*shape"),
        ("pdm/mean", raw_npy(HEADER.format("'<f8'", f"(0, {10**30})")), "'pdm/mean': "),
        ("pdm/mean", raw_npy(HEADER.format("'V0'", "(5,)")), "is not what this array may hold"),
        ("pdm/mean", raw_npy(HEADER.format("'<U0'", "(1000000000000,)")), "'pdm/mean': "),
        ("scales/0/scale", npy(np.array(-1.0)), "patch scale is a positive number"),
        ("scales/0/visible", npy(np.zeros((2, 4), bool)), "sees no landmark"),
        ("scales/0/visible", npy(np.zeros((2, 5), bool)), r"has shape \(2, 5\), not \(2, 4\)"),
        ("scales/0/sigma/3", npy(np.zeros((3, 9, 8), np.float32)), r"not \(any, 9, 9\)"),
        ("scales/0/sigma/99999", npy(np.zeros(1)), "not the side of a window"),
        ("scales/0/sigma/x", npy(np.zeros(1)), "not the side of a window"),
        ("scales/2/scale", npy(np.array(1.0)), "'scales/': is not numbered from 0"),
        ("scales/x", npy(np.array(1.0)), "'scales/': is not numbered from 0"),
        ("parts/0/name", npy(np.array("p")), "'parts/0/pdm/mean': is missing"),
        (
            "triangles",
            npy(np.array([[0, 1, 9]], np.int32)),
            r"triangles are not \(t, 3\) landmarks in 0\.\.3",
        ),
        (
            "scales/0/views/1/weights",
            npy(np.zeros((2, 2, 3, 3), np.float64)),
            "which does not fit into float32",
        ),
        ("scales/0/views/1/weights", npy(np.zeros((3, 2, 3, 3), np.float32)), r"not \(2, any, any, any\)"),
        ("scales/0/views/1/landmarks", npy(np.array([0, 1], np.int32)), "not those of the visible landmarks"),
        ("scales/0/views/1/alphas", npy(np.zeros((2, 2))), "alphas must add up to more than 0"),
        ("arrays/x", npy(np.array([np.inf])), "'arrays/x': holds values that are not finite"),
    ],
)
def test_arrays_that_are_not_what_they_should_be(tiny_bytes, tmp_path, key, content, message):
    path = changed(tiny_bytes, tmp_path / "model.npz", key, content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=message) as error:
            load_everything(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value)
    assert peak < 5_000_000


def test_missing_arrays_are_named(tiny_bytes, tmp_path):
    with zipfile.ZipFile(io.BytesIO(tiny_bytes)) as archive:
        keys = [name.removesuffix(".npy") for name in archive.namelist()]
    optional = {"triangles", "scales/0/sigma/1", "scales/0/sigma/3"}
    for key in sorted(set(keys) - optional):
        path = changed(tiny_bytes, tmp_path / "model.npz", key, None)
        with pytest.raises(ModelError, match=f"'{key}': is missing"):
            load_everything(path)


def test_zip_bombs_and_encrypted_members(tiny_bytes, tmp_path):
    path = tmp_path / "model.npz"
    record = tiny_bytes.index(b"PK\1\2")

    def patched(offset: int, value: bytes) -> Path:
        start = record + offset
        path.write_bytes(tiny_bytes[:start] + value + tiny_bytes[start + len(value) :])
        return path

    with pytest.raises(ModelError, match="holds more than"):
        load_model(patched(24, struct.pack("<I", 2**31)))  # uncompressed size
    with pytest.raises(ModelError, match="encrypted"):
        load_model(patched(8, b"\1"))  # flags
    with pytest.raises(ModelError, match="other than deflate"):
        load_model(patched(10, b"\x0e"))  # LZMA
    for compressed_size in (len(tiny_bytes) + 1, 2**24, 2**31):
        with pytest.raises(ModelError, match="reaches beyond the end of the file"):
            load_model(patched(20, struct.pack("<I", compressed_size)))
    with pytest.raises(ModelError, match="length or checksum"):
        load_model(patched(20, struct.pack("<I", 200)))
    # 50 MB of zeros, said to be as long as the format's name.
    tiny_model().save(path, compress=True)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("format.npy", bytes(50_000_000))
    content = bytearray(bomb.getvalue())
    struct.pack_into("<I", content, content.index(b"PK\1\2") + 24, 176)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="length or checksum"):
            load_model(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_too_many_or_repeated_members(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"")
        archive.writestr("a.npy", b"")
    with pytest.raises(ModelError, match="there twice"):
        load_model(path)
    tiny_model().save(path)
    monkeypatch.setattr("pyclnf._npz.MAX_ARRAYS", 3)
    with pytest.raises(ModelError, match="more than 3 arrays"):
        load_model(path)
    monkeypatch.setattr("pyclnf._npz.MAX_MODEL_BYTES", 100)
    with pytest.raises(ModelError, match="larger than 100 bytes"):
        load_model(path)


# --- OpenFace's model in our format


def test_openface_round_trip(test_data, tmp_path):
    model = read_model(test_data / "openface" / "model")
    model.save(tmp_path / "openface.npz")
    loaded = load_model(tmp_path / "openface.npz")
    assert_same(loaded, model)
    assert [scale.n_experts for scale in loaded.scales] == [410, 410, 410]
    assert all(isinstance(scale, PatchScale) for scale in loaded.scales)
