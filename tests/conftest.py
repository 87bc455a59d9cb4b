"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the data that is not in the repository (OpenFace's model, golden files, photographs)."""
    path = Path(os.environ.get("PYCLNF_TEST_DATA", REPOSITORY.parent / "shared"))
    if not (path / "golden").is_dir():
        message = f"no test data in {path}: set PYCLNF_TEST_DATA"
        if os.environ.get("PYCLNF_REQUIRE_TEST_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path
