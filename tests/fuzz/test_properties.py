"""The readers' promises (`targets.py`) on inputs that Hypothesis makes: a short form of the fuzzers."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from npz_mutator import crossed_npz, mutate_npz, pack, unpack
from targets import SEPARATOR, Targets, seeds

CORPUS = Path(__file__).parent / "corpus"

unhealthy = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
some = settings(max_examples=50, deadline=None, suppress_health_check=unhealthy)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    with warnings.catch_warnings():
        # NumPy's, about numbers that overflow in absurd models.
        warnings.simplefilter("ignore", RuntimeWarning)
        yield Targets(tmp_path_factory.mktemp("fuzz"))


def changed_bytes(data: bytes, size: int, chance: random.Random) -> bytes:
    """Change, insert or leave out some bytes."""
    content = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(content))
        action = chance.random()
        if action < 0.5 and place < len(content):
            content[place] = chance.randrange(256)
        elif action < 0.75:
            content[place:place] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
        else:
            del content[place : place + chance.randint(1, 8)]
    return bytes(content[:size])


@pytest.mark.parametrize("name", Targets.NAMES)
def test_the_seeds_are_good_and_committed(targets: Targets, name: str) -> None:
    """A seed that is refused at once would lead a fuzzer nowhere."""
    made = seeds(name)
    assert {file.name for file in (CORPUS / name).iterdir()} == set(made)
    for file, content in made.items():
        assert getattr(targets, name)(content) == (file != "links"), file
        committed = (CORPUS / name / file).read_bytes()
        assert getattr(targets, name)(committed) == (file != "links"), file


@pytest.mark.parametrize("name", Targets.NAMES)
@some
@given(content=st.binary(max_size=300))
def test_any_bytes(targets: Targets, name: str, content: bytes) -> None:
    getattr(targets, name)(content)


@pytest.mark.parametrize("name", ("openface", "csv", "pts", "image"))
@some
@given(data=st.data())
def test_changed_seeds(targets: Targets, name: str, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(sorted(seeds(name).values())))
    getattr(targets, name)(changed_bytes(content, 2**15, random.Random(data.draw(st.integers(0, 2**32)))))


@some
@given(seed=st.integers(0, 2**32))
def test_changed_models(targets: Targets, seed: int) -> None:
    chance = random.Random(seed)
    found = sorted(seeds("npz").values())

    def mutate(data: bytes, size: int) -> bytes:
        return changed_bytes(data, size, chance)

    content = mutate_npz(chance.choice(found), 2**15, seed, mutate)
    if chance.random() < 0.3:
        content = crossed_npz(content, chance.choice(found), 2**15, seed)
    targets.npz(content)


WORDS = ("confidence", "timestamp", "x_0", "y_0", "X_0", "Y_0", "Z_0", "success", "pose_Tx", "a", "", "x_1")
ODD_CELLS = ("", "1_0", "nan", "-inf", "0x1", " 1", "1e999", '"1"')
CELLS = st.one_of(st.floats().map(str), st.sampled_from(ODD_CELLS))
ROWS = st.lists(st.lists(CELLS, max_size=12), max_size=5)


@some
@given(header=st.lists(st.sampled_from(WORDS), max_size=12), rows=ROWS)
def test_tables(targets: Targets, header: list[str], rows: list[list[str]]) -> None:
    targets.csv("\n".join(", ".join(row) for row in [header, *rows]).encode())


NAMES = (
    "data/p.txt",
    "data\\e.bin",
    "out",
    "up/model/data/p.txt",
    "up/outside.txt",
    "root/etc/hostname",
    "loop",
)
NAMES += (
    "../outside.txt",
    "..\\outside.txt",
    "C:\\x",
    "C:x",
    "\\\\a\\b\\c",
    "/etc/hostname",
    "x\0y",
    "clnf.txt",
    "",
)
KEYS = ("PDM", "PatchesCCNF", "Triangulations", "LandmarkDetector", "LandmarkDetector_part", "Other")
LINES = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(NAMES)), max_size=5)


@some
@given(main=LINES, detector=LINES)
def test_files_that_name_others(targets: Targets, main: list, detector: list) -> None:
    """No file outside of the folder is opened, whatever the texts name."""
    texts = ["\n".join(f"{key} {name}" for key, name in lines).encode() for lines in (main, detector)]
    targets.openface(b"T" + SEPARATOR.join(texts))


def test_the_harness_sees_a_file_opened_outside(targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would pass on anything."""
    if not (targets.model_folder / "out").exists():
        pytest.skip("no links here")
    resolve = "pyclnf.openface._resolve"
    monkeypatch.setattr(resolve, lambda path, entry, root: path.parent / entry.value)
    content = b"T" + SEPARATOR.join([b"LandmarkDetector clnf.txt", b"PDM out\nPatchesCCNF data/e.bin", b""])
    with pytest.raises(AssertionError, match="opened"):
        targets.openface(content)


def test_the_mutator_packs_what_opens_again() -> None:
    """Most mutated files must get past the container, and differ from what they were made of."""
    original = seeds("npz")["plain"]
    chance = random.Random(0)
    made = [mutate_npz(original, 2**15, i, lambda data, n: changed_bytes(data, n, chance)) for i in range(40)]
    opened = [unpack(content) for content in made]
    assert sum(members is not None for members in opened) >= 34
    assert sum(content != original for content in made) >= 34
    members = unpack(original)
    assert members is not None
    assert unpack(pack(members, False)) == members
