"""Every command and every piece of Python in docs/ runs, on generated faces."""

from __future__ import annotations

import re
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from generate_model import write_openface
from pyclnf import batch, cli, clnf, detection, store

if TYPE_CHECKING:
    from conftest import Generated

DOCS = Path(__file__).resolve().parents[2] / "docs"
# What the Python of a page leaves behind; None: nothing.
WRITTEN = {"api.md": "interview.csv", "photographs.md": None, "train.md": "own.npz"}
PAGES = sorted(path.name for path in DOCS.glob("*.md"))


def blocks(page: str, *languages: str) -> list[str]:
    """Return the fenced blocks of a page in some languages."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [body for language, body in found if language in languages]


def commands(page: str, *languages: str) -> list[str]:
    """Return the command lines of a page."""
    return [
        line.removeprefix("$ ") for block in blocks(page, *languages) for line in block.splitlines() if line
    ]


@pytest.fixture
def folder(generated: Generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change into a folder with what the pages speak of; the shipped model and detector know drawn faces."""
    generated.write_images(tmp_path / "photographs", 3)
    cv2.imwrite(str(tmp_path / "face.jpg"), generated.image(0))
    (tmp_path / "videos").mkdir()
    for path in (tmp_path / "interview.mp4", tmp_path / "videos" / "a.avi", tmp_path / "videos" / "b.avi"):
        generated.write_video(path, 12)
    write_openface(generated.model, tmp_path / "MODEL_DIR")
    shutil.copy(generated.path, tmp_path / "model.npz")
    faces = range(24)
    images = np.stack([generated.image(seed) for seed in faces])
    np.savez(
        tmp_path / "annotated.npz", images=images, landmarks=[generated.landmarks(seed) for seed in faces]
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYCLNF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(store, "_shipped", lambda: generated.path)
    x, y, w, h = (float(value) for value in generated.box.split(","))
    for module in (detection, clnf):
        monkeypatch.setattr(module, "make_detector", lambda *_: batch.FixedBox((x, y, w, h)))
    # Threads see these changes, new processes would not.
    monkeypatch.setattr(batch, "_pool", ThreadPoolExecutor)
    batch._tools.cache_clear()
    return tmp_path


def test_there_are_pages() -> None:
    assert {"photographs.md", "video.md", "openface-users.md", "api.md", "train.md"} <= set(PAGES)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page, "sh")])
def test_commands_run(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if any("parquet" in line for line in commands(page, "sh")):
        pytest.importorskip("pyarrow")
    for line in commands(page, "sh"):
        words = shlex.split(line)
        assert words[0] == "pyclnf"
        assert cli.main(words[1:]) == 0, line
        text = capsys.readouterr()
        assert " failed" not in text.out, line
        if words[1] in ("fit", "track"):
            assert not re.search(r"; 0 faces", text.out) or "skipped" in text.out, line


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page, "console")])
def test_commands_that_need_a_network_are_understood(page: str) -> None:
    for line in commands(page, "console"):
        words = shlex.split(line)
        assert words[0] == "pyclnf"
        cli.parser().parse_args(words[1:])


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_runs(page: str, folder: Path) -> None:
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)
    written = WRITTEN[page]
    assert written is None or (folder / written).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS / target).is_file(), target
