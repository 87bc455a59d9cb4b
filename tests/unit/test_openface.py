import dataclasses
import os
import re
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generate_model import ccnf_bytes, generate_model, pdm_text, tiny_model, write_openface
from pyclnf.errors import ModelError
from pyclnf.model import Model, load_model
from pyclnf.openface import read_ccnf, read_model, read_pdm
from pyclnf.patch_experts import GREY, PatchScale, ViewExperts

CCNF = ccnf_bytes(tiny_model().scales[0])
PDM_TEXT = pdm_text(tiny_model().pdm).encode()


def read_everything(path: Path) -> PatchScale:
    """Read a file of patch experts with all of its views, and check that every number is finite."""
    scale = read_ccnf(path)
    arrays = [np.array(scale.scale), scale.centres, *scale.sigma_components.values()]
    for i in range(scale.n_views):
        arrays += [getattr(scale.view(i), field.name) for field in dataclasses.fields(ViewExperts)]
    assert all(np.isfinite(array).all() for array in arrays)
    return scale


def assert_same_views(a: PatchScale, b: PatchScale) -> None:
    for i in range(a.n_views):
        for field in dataclasses.fields(ViewExperts):
            one, other = getattr(a.view(i), field.name), getattr(b.view(i), field.name)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other, err_msg=field.name)


@pytest.fixture(scope="module")
def generated() -> Model:
    return generate_model(parts=True)


# --- what is written is what is read


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_reads_back_a_written_model(tmp_path, generated, newline):
    model = generated
    write_openface(model, tmp_path, newline)
    read = read_model(tmp_path)
    np.testing.assert_array_equal(read.pdm.mean, model.pdm.mean)
    np.testing.assert_array_equal(read.pdm.components, model.pdm.components)
    np.testing.assert_array_equal(read.pdm.eigenvalues, model.pdm.eigenvalues)
    np.testing.assert_array_equal(read.triangles, model.triangles)
    assert [part.name for part in read.parts] == ["inner"]
    np.testing.assert_array_equal(read.parts[0].mapping, model.parts[0].mapping)
    for a, b in zip(
        (*model.scales, *model.parts[0].model.scales),
        (*read.scales, *read.parts[0].model.scales),
        strict=True,
    ):
        assert a.scale == b.scale
        np.testing.assert_allclose(a.centres, b.centres, atol=1e-15)
        np.testing.assert_array_equal(a.visible, b.visible)
        assert list(a.sigma_components) == list(b.sigma_components)
        for window, components in a.sigma_components.items():
            np.testing.assert_array_equal(components, b.sigma_components[window])
        for i in range(a.n_views):
            used = a.view(i).alphas > 0
            for name in ("types", "weights", "norm_weights", "biases", "alphas"):
                np.testing.assert_array_equal(getattr(a.view(i), name)[used], getattr(b.view(i), name)[used])
            assert (b.view(i).alphas[~used] == 0).all()
            assert (b.view(i).types[~used] == GREY).all()
            for name in ("landmarks", "betas", "confidences"):
                np.testing.assert_array_equal(getattr(a.view(i), name), getattr(b.view(i), name))


def test_folder_main_file_and_detector_file_give_the_same(tmp_path, generated):
    main = write_openface(generated, tmp_path)
    by_folder, by_main, detector = load_model(tmp_path), load_model(main), load_model(tmp_path / "clnf.txt")
    assert len(by_folder.parts) == len(by_main.parts) == 1
    assert detector.parts == read_model(main, parts=False).parts == ()
    for other in (by_main, detector):
        assert_same_views(by_folder.scales[0], other.scales[0])


def test_model_without_windows_or_components(tmp_path):
    model = tiny_model()
    old = model.scales[0]
    views = [dataclasses.replace(old.view(i), betas=np.zeros((len(old.view(i).betas), 0))) for i in range(2)]
    for sigma in ({}, {3: np.zeros((0, 9, 9), np.float32)}):
        scale = PatchScale(old.scale, old.centres, old.visible, sigma, views)
        file = tmp_path / "patches.bin"
        file.write_bytes(ccnf_bytes(scale))
        assert_same_views(read_everything(file), scale)


# --- files that name other files


def entries(tmp_path: Path, old: str, new: str, file: str = "clnf.txt") -> Path:
    """Write the tiny model with a line of one of its text files changed."""
    write_openface(tiny_model(), tmp_path / "model")
    path = tmp_path / "model" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return tmp_path / "model"


def test_ignores_what_it_does_not_need(tmp_path):
    folder = entries(
        tmp_path, "Triangulations data/triangles.txt", "Triangulations gone.txt\n\n  \nOther thing"
    )
    model = read_model(folder)
    assert model.triangles is None
    assert not (folder / "missing").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../outside.txt",
        "data/../../outside.txt",
        "..\\outside.txt",
        "/etc/hostname",
        "C:\\outside.txt",
        "C:outside.txt",
        "\\\\server\\share\\outside.txt",
        "\\outside.txt",
    ],
)
def test_files_outside_of_the_folder_are_refused(tmp_path, name):
    (tmp_path / "outside.txt").write_bytes(PDM_TEXT)
    folder = entries(tmp_path, "PDM data/pdm.txt", f"PDM {name}")
    with pytest.raises(ModelError, match=r"clnf\.txt, line 1: .*folder"):
        read_model(folder)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_out_of_the_folder_are_refused_and_links_within_are_followed(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_bytes(PDM_TEXT)
    folder = entries(tmp_path, "PDM data/pdm.txt", "PDM link.txt")
    (folder / "link.txt").symlink_to(folder / "data/pdm.txt")
    assert read_model(folder).pdm.n_landmarks == 4
    (folder / "link.txt").unlink()
    (folder / "link.txt").symlink_to(outside)
    with pytest.raises(ModelError, match="leaves the model's folder"):
        read_model(folder)
    (folder / "link.txt").unlink()
    (folder / "link.txt").symlink_to(folder / "link.txt")
    with pytest.raises(ModelError, match=r"link\.txt"):
        read_model(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("PDM data/pdm.txt", "", r"clnf\.txt: 0 lines begin with PDM"),
        ("PDM data/pdm.txt", "PDM data/pdm.txt\nPDM data/pdm.txt", r"clnf\.txt: 2 lines begin with PDM"),
        ("PDM data/pdm.txt", "PDM", r"clnf\.txt, line 1: PDM names no file"),
        ("PDM data/pdm.txt", "PDM data/p\0m.txt", r"clnf\.txt, line 1: PDM names no file"),
        (
            "PDM data/pdm.txt",
            "PDM " + "x" * 5000,
            r"xxx.*: (cannot be|no such file)|xxx.* cannot be followed",
        ),
        ("PDM data/pdm.txt", "PDM data", r"data: no such file"),
        ("PDM data/pdm.txt", "PDM data/pdm2.txt", r"pdm2\.txt: no such file"),
        ("PDM data/pdm.txt", "PDM data/patches_0.25.bin", r"patches_0\.25\.bin, byte \d+: not a text file"),
        ("PatchesCCNF", "Patches", r"clnf\.txt: 0 lines PatchesCCNF"),
        ("data\\patches_0.25.bin", "data/pdm.txt", r"pdm\.txt, byte \d+: "),
    ],
)
def test_wrong_entries(tmp_path, old, new, message):
    with pytest.raises(ModelError, match=message):
        read_model(entries(tmp_path, old, new))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("main_clnf_general.txt", "needs a file, a name and pairs"),
        ("main_clnf_general.txt inner 0", "needs a file, a name and pairs"),
        ("main_clnf_general.txt inner 0 x", "needs a file, a name and pairs"),
        ("main_clnf_general.txt inner 0 -1", "needs a file, a name and pairs"),
        ("main_clnf_general.txt inner 0 4", r"line 2: .*not in 0\.\.3"),
        ("main_clnf_general.txt inner 4 0", "does not have"),
        ("main_clnf_general.txt inner 0 0 0 1", r"line 2: .*twice"),
        ("gone.txt inner 0 0", r"gone\.txt: no such file"),
    ],
)
def test_wrong_parts(tmp_path, part, message):
    line = "FaceDetConversion missing.txt"
    folder = entries(tmp_path, line, f"LandmarkDetector_part {part}", "main_clnf_general.txt")
    with pytest.raises(ModelError, match=message):
        read_model(folder)


def test_a_part_that_names_its_own_main_file_ends(tmp_path):
    line = "FaceDetConversion missing.txt"
    part = "LandmarkDetector_part main_clnf_general.txt inner 0 0 2 2"
    model = read_model(entries(tmp_path, line, part, "main_clnf_general.txt"))
    assert model.parts[0].model.parts == ()


def test_more_parts_than_are_read(tmp_path):
    line = "FaceDetConversion missing.txt"
    part = "LandmarkDetector_part main_clnf_general.txt inner 0 0\n"
    folder = entries(tmp_path, line, 17 * part, "main_clnf_general.txt")
    with pytest.raises(ModelError, match=r"main_clnf_general\.txt: 17 part models are named, at most 16"):
        read_model(folder)
    assert read_model(folder, parts=False).parts == ()


def test_models_that_do_not_fit_together(tmp_path, generated):
    folder = entries(tmp_path, "PDM data/pdm.txt", "PDM data/big.txt")
    (folder / "data/big.txt").write_text(pdm_text(generated.pdm))
    with pytest.raises(ModelError, match=r"clnf\.txt: .*4 landmarks, the PDM has 68"):
        read_model(folder)


def test_missing_folder_and_foreign_folder(tmp_path):
    with pytest.raises(ModelError, match=r"main_clnf_general\.txt: no such file"):
        read_model(tmp_path)
    with pytest.raises(ModelError, match=r"gone\.txt: no such file"):
        load_model(tmp_path / "gone.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(ModelError, match=r"pipe\.txt: no such file"):
        read_pdm(tmp_path / "pipe.txt")


def test_oversized_file(tmp_path, monkeypatch):
    (tmp_path / "pdm.txt").write_bytes(PDM_TEXT)
    monkeypatch.setattr("pyclnf.openface.MAX_FILE_BYTES", len(PDM_TEXT) - 1)
    with pytest.raises(ModelError, match=r"pdm\.txt: \d+ bytes, a model file has at most"):
        read_pdm(tmp_path / "pdm.txt")


# --- damaged text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("12\n1\n6", "12\n1\n5", r"line 4: the type code .* is '5'"),
        ("12\n1\n6", "-12\n1\n6", r"line 2: the number of rows is '-12'"),
        ("12\n1\n6", "2147483647\n1\n6", r"line 2: the number of rows"),
        (
            "12\n1\n6",
            "9999999\n9999999\n6",
            r"line 2: a matrix of 9999999 x 9999999, but \d+ numbers are left",
        ),
        ("12\n1\n6", "12\n0\n6", r"line 3: the number of columns"),
        ("12\n1\n6", "6\n2\n6", r"the mean shape are a matrix \(6, 2\)"),
        ("12\n1\n6\n", "12\n1\n6\nnan ", r"line 5: 'nan' is not a finite number"),
        ("12\n1\n6\n", "12\n1\n6\n1e999 ", r"line 5: '1e999' is not a finite number"),
        ("12\n1\n6\n", "12\n1\n6\n1_0 ", r"line 5: '1_0' is not a finite number"),
        ("12\n1\n6\n", "12\n1\n6\n7 ", r"line 16: the number of rows is '\d+\.\d+'"),
        ("20.0 10.0", "20.0 10.0 5.0", r"line 37: the file goes on after its last matrix"),
        ("20.0 10.0", "20.0 -10.0", r"pdm\.txt: .*eigenvalues must all be positive"),
        ("20.0 10.0", "20.0", r"line 34: a matrix of 1 x 2, but 1 numbers are left"),
    ],
)
def test_damaged_pdm(tmp_path, old, new, message):
    text = PDM_TEXT.decode()
    assert old in text
    (tmp_path / "pdm.txt").write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError, match=message) as error:
        read_pdm(tmp_path / "pdm.txt")
    assert "pdm.txt" in str(error.value)


def test_pdm_truncated_anywhere(tmp_path):
    file = tmp_path / "pdm.txt"
    end = len(PDM_TEXT.rstrip())
    # Cut within the last number, what is left may be a number too.
    last = PDM_TEXT.rstrip().rfind(b" ") + 2
    for size in (*range(last), end):
        file.write_bytes(PDM_TEXT[:size])
        if size == end:
            assert read_pdm(file).n_modes == 2
        else:
            with pytest.raises(ModelError, match=r"pdm\.txt"):
                read_pdm(file)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_pdm_with_changed_bytes(tmp_path, data):
    damaged = bytearray(PDM_TEXT)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / "pdm.txt"
    file.write_bytes(damaged)
    try:
        pdm = read_pdm(file)
    except ModelError as error:
        assert str(file) in str(error)
    else:
        assert all(np.isfinite(a).all() for a in (pdm.mean, pdm.components, pdm.eigenvalues))


# --- damaged experts


def test_ccnf_truncated_anywhere_or_too_long(tmp_path):
    file = tmp_path / "patches.bin"
    for size in (*range(300), *range(300, len(CCNF), 7), len(CCNF) - 1):
        file.write_bytes(CCNF[:size])
        with pytest.raises(ModelError, match=r"patches\.bin, byte \d+: .*left"):
            read_ccnf(file)
    file.write_bytes(CCNF + b"\0")
    with pytest.raises(ModelError, match=rf"patches\.bin, byte {len(CCNF)}: 1 bytes follow"):
        read_ccnf(file)
    file.write_bytes(CCNF)
    assert read_everything(file).n_experts == 6


@pytest.mark.parametrize("value", [2**31 - 1, -1, 2**16])
def test_no_count_makes_it_allocate_or_crash(tmp_path, value):
    """Every place of the file in turn holds a count, a size or a type that cannot be."""
    file = tmp_path / "patches.bin"
    refused = 0
    tracemalloc.start()
    try:
        for offset in range(0, len(CCNF), 4):
            file.write_bytes(CCNF[:offset] + np.int32(value).tobytes() + CCNF[offset + 4 :])
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            try:
                read_everything(file)
            except ModelError as error:
                assert f"{file}, byte " in str(error)
                refused += 1
            assert tracemalloc.get_traced_memory()[1] - before < 300_000
    finally:
        tracemalloc.stop()
    assert refused > 100


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(CCNF) - 1), st.integers(0, 7)), min_size=1, max_size=4))
def test_ccnf_with_flipped_bits(tmp_path, flips):
    """An error names the file, and the byte or the array that a flipped exponent sends beyond the limits."""
    damaged = bytearray(CCNF)
    for position, bit in flips:
        damaged[position] ^= 1 << bit
    file = tmp_path / "patches.bin"
    file.write_bytes(damaged)
    try:
        read_everything(file)
    except ModelError as error:
        where = r"(, byte \d+: |: (view \d+ of patch scale [\d.]+: )?the \w+ )"
        assert re.match(re.escape(str(file)) + where, str(error))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_foreign_files(tmp_path, content):
    file = tmp_path / "foreign"
    file.write_bytes(content)
    for read in (read_pdm, read_ccnf, read_model):
        with pytest.raises(ModelError, match="foreign"):
            read(file)


def test_the_place_of_a_value_that_is_not_finite(tmp_path):
    """The byte named is where the value stands, whatever the number of neurons of the experts before."""
    scale = tiny_model().scales[0]
    file = tmp_path / "patches.bin"
    values = {
        "the weights of a neuron": scale.view(1).weights[1, 0, 1, 2].tobytes(),
        "the bias of a neuron": scale.view(0).biases[2, 1].tobytes(),
        "the betas of an expert": scale.view(0).betas[3, 1].tobytes(),
        "the confidence of an expert": scale.view(1).confidences[0].tobytes(),
    }
    for what, value in values.items():
        offset = CCNF.index(value)
        nan = (np.float32 if len(value) == 4 else np.float64)(np.nan).tobytes()
        file.write_bytes(CCNF.replace(value, nan))
        with pytest.raises(ModelError, match=rf"patches\.bin, byte {offset}: {what} is not finite"):
            read_everything(file)


def int32(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def a_component(first: float) -> bytes:
    """The first component of the window of 3 px with another first number."""
    matrix = tiny_model().scales[0].sigma_components[3][0].copy()
    matrix[0, 0] = first
    return matrix.tobytes()


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        (
            int32(4, 1, 4, 1, 0, 1, 0),
            int32(4, 1, 4, 0, 0, 0, 0),
            12,
            "a view in which no landmark is visible",
        ),
        (int32(4, 1, 4, 1, 0, 1, 0), int32(4, 1, 4, 1, 0, 2, 0), 12, "visibility is neither 0 nor 1"),
        (int32(3, 3, 9, 9, 5), int32(1, 3, 9, 9, 5), 0, "a second set of components for the window 1"),
        (int32(5, 3, 3, 1), int32(5, 2, 3, 1), 4, "an expert of 2 x 3 px among others of another size"),
        (
            a_component(tiny_model().scales[0].sigma_components[3][0, 0, 0]),
            a_component(1e30),
            None,
            "beyond 1e",
        ),
    ],
)
def test_parts_of_a_file_of_experts_that_do_not_fit(tmp_path, old, new, place, message):
    file = tmp_path / "patches.bin"
    offset = CCNF.index(old)
    file.write_bytes(CCNF[:offset] + new + CCNF[offset + len(old) :])
    where = r"patches\.bin: .*" if place is None else rf"patches\.bin, byte {offset + place}: .*"
    with pytest.raises(ModelError, match=where + message):
        read_ccnf(file)


def test_padding_to_the_largest_expert_is_bounded(tmp_path, monkeypatch):
    file = tmp_path / "patches.bin"
    file.write_bytes(CCNF)
    monkeypatch.setattr("pyclnf.openface.MAX_VIEW_BYTES", 4 * 2 * 9 * 4 - 1)
    monkeypatch.setattr("pyclnf.openface._read_bytes", Path.read_bytes)
    with pytest.raises(ModelError, match="the experts of a view need 288 bytes"):
        read_ccnf(file)


# --- OpenFace's own model


@pytest.fixture(scope="module")
def openface_folder(test_data):
    return test_data / "openface" / "model"


@pytest.fixture(scope="module")
def openface(openface_folder) -> Model:
    return read_model(openface_folder)


def test_openface_experts(openface):
    assert [scale.scale for scale in openface.scales] == [0.25, 0.35, 0.5]
    assert [scale.n_experts for scale in openface.scales] == [410, 410, 410]
    decoded = sum(len(scale.view(i).landmarks) for scale in openface.scales for i in range(scale.n_views))
    assert decoded == 1230
    for scale in openface.scales:
        np.testing.assert_allclose(np.degrees(scale.centres[:, 1]), [0, -20, -45, -70, 70, 45, 20])
        np.testing.assert_array_equal(scale.visible.sum(axis=1), [68, 68, 68, 35, 35, 68, 68])
        assert {w: len(c) for w, c in scale.sigma_components.items()} == {7: 3, 9: 3, 11: 3, 15: 3}
        for components in scale.sigma_components.values():
            np.testing.assert_array_equal(components, components.transpose(0, 2, 1))
        for i in range(scale.n_views):
            assert scale.view(i).weights.shape[1:] == (7, 11, 11)
            assert (scale.view(i).types == GREY).all()
    assert openface.scales[0].view(0).norm_weights[0, 0] == pytest.approx(28.9847071, abs=1e-7)
    assert openface.scales[0].view(0).confidences[0] == pytest.approx(0.23381421, abs=1e-8)


def test_openface_pdm_and_parts(openface):
    assert (openface.pdm.n_landmarks, openface.pdm.n_modes) == (68, 34)
    assert openface.pdm.mean[0] == -73.393523
    assert openface.pdm.eigenvalues[0] == 826.213804
    np.testing.assert_allclose(openface.pdm.components.T @ openface.pdm.components, np.eye(34), atol=1e-4)
    assert openface.triangles.shape == (97, 3)
    parts = {part.name: part for part in openface.parts}
    assert list(parts) == ["inner", "left_eye_28", "right_eye_28"]
    assert [part.model.pdm.n_landmarks for part in openface.parts] == [51, 28, 28]
    assert [[s.scale for s in part.model.scales] for part in openface.parts] == [
        [1.0],
        [1.0, 1.5],
        [1.0, 1.5],
    ]
    np.testing.assert_array_equal(parts["inner"].mapping, np.column_stack([np.arange(17, 68), np.arange(51)]))
    np.testing.assert_array_equal(parts["right_eye_28"].mapping[:, 0], np.arange(42, 48))
    assert parts["left_eye_28"].model.scales[0].view(0).betas.shape == (28, 0)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.5, 0.9, 0.999])
def test_openface_truncated(openface_folder, tmp_path, kept):
    for name, read in (
        ("patch_experts/ccnf_patches_0.25_general.txt", read_ccnf),
        ("pdms/In-the-wild_aligned_PDM_68.txt", read_pdm),
    ):
        content = (openface_folder / name).read_bytes()
        file = tmp_path / "cut.txt"
        file.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(ModelError, match=r"cut\.txt"):
            read(file)


def test_openface_without_its_parts(openface_folder, tmp_path):
    folder = tmp_path / "model"
    names = ["main_clnf_general.txt", "clnf_general.txt", "patch_experts", "pdms"]
    folder.mkdir()
    for name in names:
        source = openface_folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    assert read_model(folder, parts=False).triangles is None
    with pytest.raises(ModelError, match=r"main_clnf_inner\.txt: no such file"):
        read_model(folder)
