"""Where models are: shipped with the package, in the user's cache folder, or in OpenFace's release.

Nothing is downloaded unless the user accepts the terms of the files; what
arrives is checked against the checksums below.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyclnf._files import move
from pyclnf.errors import DownloadError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["OPENFACE_TERMS", "StoredModel", "cache_dir", "download_openface", "models", "resolve"]

DEFAULT = "default"
OPENFACE = "openface"

OPENFACE_TERMS = """\
These are the trained models of OpenFace 2.2.0 (Tadas Baltrusaitis, Peter Robinson, Louis-Philippe
Morency; Carnegie Mellon University and University of Cambridge), fetched from the authors' own
repository. They are not part of pyclnf, and its licence does not cover them. OpenFace's licence allows
academic and non-commercial research use only: no commercial use, no passing on. Publications have to cite
the authors. Read it whole before accepting:
https://github.com/TadasBaltrusaitis/OpenFace/blob/OpenFace_2.2.0/OpenFace-license.txt"""

OPENFACE_URL = (
    "https://raw.githubusercontent.com/TadasBaltrusaitis/OpenFace/OpenFace_2.2.0"
    "/lib/local/LandmarkDetector/model/"
)
OPENFACE_MAIN = "main_clnf_general.txt"


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: path below the base address, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str


# What `read_model` needs of the release OpenFace_2.2.0.
OPENFACE_FILES = (
    RemoteFile(
        "clnf_general.txt",
        234,
        "3e38c393427481b6c715f491de1fe76ebf9d283afddc2bf7ec7765bc7d8a2c23",
    ),
    RemoteFile(
        "main_clnf_general.txt",
        689,
        "532753cc2238d3e3dc398fff09b7b385a7edd7306a1edc2a22dac3ed2abdeb6e",
    ),
    RemoteFile(
        "model_eye/clnf_left_synth.txt",
        164,
        "5f652def0b109849c510c0b8f17fb779d5487f7a2a927b772a6a290aed929a0e",
    ),
    RemoteFile(
        "model_eye/clnf_right_synth.txt",
        151,
        "b1453f8272bdd601ef54f569c2b35490203f8d625c99e2667abd74e8769da030",
    ),
    RemoteFile(
        "model_eye/main_clnf_synth_left.txt",
        36,
        "974004db5c87046be362a9802d2c8241c168ba3c1b19d2915ac161ae197bb252",
    ),
    RemoteFile(
        "model_eye/main_clnf_synth_right.txt",
        37,
        "8f116d8df1f32a9022b4e4b9ce3b134774b0732441ea6585e90b75628e86ee10",
    ),
    RemoteFile(
        "model_eye/patch_experts/ccnf_patches_1.00_synth_lid_.txt",
        104368,
        "bc5f628dbcd0f24eabe5e2b7f2a6995c513ebb93ab63b03449c5f5f05a777939",
    ),
    RemoteFile(
        "model_eye/patch_experts/ccnf_patches_1.50_synth_lid_.txt",
        104368,
        "601a74b91930c2648676615278b959eb67f860e9757b169ee59bd41ac994cb9b",
    ),
    RemoteFile(
        "model_eye/patch_experts/left_ccnf_patches_1.00_synth_lid_.txt",
        104384,
        "8fe3229cda73dc49fcc27635fb875941e4d28b342c0f9f49bbcfc8ab9711cc07",
    ),
    RemoteFile(
        "model_eye/patch_experts/left_ccnf_patches_1.50_synth_lid_.txt",
        104384,
        "1c728e667b3e00ce5feb4eb8a5f68c174af5bb1f80b7ee8d3d01df6023917581",
    ),
    RemoteFile(
        "model_eye/pdms/pdm_28_eye_3D_closed.txt",
        9318,
        "8034805a0de072dafd0f6daecd71ee3f44292bc860bff6425725feac63e045f2",
    ),
    RemoteFile(
        "model_eye/pdms/pdm_28_l_eye_3D_closed.txt",
        9304,
        "eaf275c1286d5e03ea695b8250bffcef95084bf67598dfc9f03121d16b9b713f",
    ),
    RemoteFile(
        "model_inner/clnf_inner.txt",
        79,
        "9e6ba849ef773a314471bec98f486f461b43b2d72890afb12ad93482eb0698f1",
    ),
    RemoteFile(
        "model_inner/main_clnf_inner.txt",
        31,
        "d659390a75c3cf92a1165ed700a2228f9f588671d67d0862b3ff7b0fbfe96a60",
    ),
    RemoteFile(
        "model_inner/patch_experts/ccnf_patches_1.00_inner.txt",
        2043100,
        "79eb8ab716abe420a1604c8db8c107e0b9774bedfd91f595875e6bad0d37156c",
    ),
    RemoteFile(
        "model_inner/pdms/pdm_51_inner.txt",
        48934,
        "28412e9dda64e95a5fab618ecda2b5dc1802187da4894d27965715ab361cb2f7",
    ),
    RemoteFile(
        "patch_experts/ccnf_patches_0.25_general.txt",
        2429528,
        "18f4a62387a9cadcb49177db5f8726d73f3d4675bed60cb965e8256590553a48",
    ),
    RemoteFile(
        "patch_experts/ccnf_patches_0.35_general.txt",
        2429528,
        "ec26c1590f7992566943ad252af0ebb9e569095ce277d8addbc6202a36fe5a33",
    ),
    RemoteFile(
        "patch_experts/ccnf_patches_0.5_general.txt",
        2429528,
        "0ae39776c24b1e1de2a03ac4650baddec7ae84a45dec77ab30c97431fdccfebf",
    ),
    RemoteFile(
        "pdms/In-the-wild_aligned_PDM_68.txt",
        69023,
        "b9eafb292b18505b55cdbc5d8ba45413709cd300cf3e7e8d1946cd0f5c5b94b1",
    ),
    RemoteFile(
        "tris_68.txt",
        5351,
        "dca0c54fbd7683444f39534f803e037ba1df80a5cfd72ce8101cb7ff58e54193",
    ),
)


@dataclass(frozen=True)
class StoredModel:
    """A model that `resolve` finds by name.

    Attributes
    ----------
    name : str
    path : Path
        An ``.npz`` file, or OpenFace's folder.
    origin : {"shipped", "imported", "downloaded"}
    """

    name: str
    path: Path
    origin: str


def cache_dir() -> Path:
    """Return the folder of imported and downloaded models; it need not exist.

    ``$PYCLNF_HOME`` if set, else the platform's cache folder of the user.

    Raises
    ------
    ModelError
        If the user has no home.
    """
    own = os.environ.get("PYCLNF_HOME")
    if own:
        return Path(own)
    try:
        return _users_cache() / "pyclnf"
    except RuntimeError as error:
        raise ModelError(f"the user has no home to keep models in ({error}): set PYCLNF_HOME") from error


def _users_cache() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base)


def models() -> Iterator[StoredModel]:
    """Yield the models that have a name, the shipped one first."""
    shipped = _shipped()
    if shipped.is_file():
        yield StoredModel(DEFAULT, shipped, "shipped")
    # Who has no home, or may not look into it, as containers' users may not, has no models of their own.
    with suppress(ModelError, PermissionError):
        for path in sorted(cache_dir().glob("*.npz")):
            if not path.name.startswith("."):  # left by an import that was killed
                yield StoredModel(path.stem, path, "imported")
        folder = _openface_folder()
        if (folder / OPENFACE_MAIN).is_file():
            yield StoredModel(OPENFACE, folder, "downloaded")


def resolve(source: str | Path | None) -> Path:
    """Return the path of a model.

    Parameters
    ----------
    source : str, Path or None
        A model's name (see `models`), or a path, which wins over a name if
        it exists. None is the shipped model.

    Returns
    -------
    Path

    Raises
    ------
    ModelError
        If there is neither a file nor a model of that name.
    """
    name = DEFAULT if source is None else source
    try:
        path = Path(name).expanduser()
        if isinstance(name, Path) or path.exists() or path.suffix or len(path.parts) > 1:
            return path
    except TypeError as error:
        raise ModelError(f"a model is a Model, a name or a path, not {name!r}") from error
    except (OSError, RuntimeError) as error:  # too long a name, no home of such a user
        raise ModelError(f"{name}: no path of a model: {error}") from error
    known = list(models())
    for model in known:
        if model.name == name:
            return model.path
    if name == DEFAULT:
        raise ModelError(
            "this installation holds no model: give the path of an .npz file or of OpenFace's folder"
        )
    if name == OPENFACE:
        raise ModelError(
            "OpenFace's model is not here: get it with 'pyclnf models download openface', or convert "
            "the folder of an OpenFace that you have with 'pyclnf models import DIR'"
        )
    names = ", ".join(sorted({model.name for model in known})) or "none"
    raise ModelError(
        f"there is no model {str(name)!r}: neither a file nor one of the stored models ({names})"
    )


def imported_path(name: str) -> Path:
    """Return where a model is stored under a name, and make the folder.

    Raises
    ------
    ModelError
        If the name is no plain name, is taken by the shipped model, or the folder cannot be made.
    """
    if name == DEFAULT or not name.replace("-", "").replace("_", "").isalnum():
        raise ModelError(f"a model's name is letters, digits, '-' and '_', and not {DEFAULT!r}: {name!r}")
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{cache_dir()} cannot be made: {error.strerror}; set PYCLNF_HOME") from error
    return cache_dir() / f"{name}.npz"


def download_openface(
    *,
    accept_terms: bool,
    base_url: str = OPENFACE_URL,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Download OpenFace's model files from its authors' repository.

    Files that are there and whole are kept; one that broke off is resumed.

    Parameters
    ----------
    accept_terms : bool
        Whether the user accepts `OPENFACE_TERMS`; nothing is downloaded otherwise.
    base_url : str
        Where the release's model folder is; a mirror, say.
    progress : callable, optional
        Called with (file, bytes done, bytes of all files).

    Returns
    -------
    Path
        The folder, as `CLNF` takes it.

    Raises
    ------
    DownloadError
        Without consent, or if a file cannot be fetched or is not what it should be.
    """
    if not accept_terms:
        raise DownloadError(f"nothing is downloaded without your consent to these terms:\n\n{OPENFACE_TERMS}")
    folder = _openface_folder()
    total = sum(file.size for file in OPENFACE_FILES)
    done = 0
    # The main file comes last: its presence says that the model is whole.
    for file in sorted(OPENFACE_FILES, key=lambda file: file.path == OPENFACE_MAIN):
        fetch(base_url + file.path, folder / file.path, file)
        done += file.size
        if progress is not None:
            progress(file.path, done, total)
    return folder


def fetch(url: str, target: Path, expected: RemoteFile) -> None:
    """Download one file, or what is missing of it, and check it.

    Until it is whole and right it is named ``*.part``.

    Raises
    ------
    DownloadError
        If the address is not https, cannot be read, or gives other bytes.
    """
    if target.is_file() and _sha256(target) == expected.sha256:
        return
    # HTTP and TLS take longer to import than all the rest of the package.
    from pyclnf._download import receive

    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        receive(url, part, expected.size)
        if part.stat().st_size < expected.size:
            raise DownloadError(f"{url}: the transfer broke off; run the command again to go on with it")
        if part.stat().st_size != expected.size or _sha256(part) != expected.sha256:
            part.unlink()
            raise DownloadError(
                f"{url}: these are not the bytes that belong there (SHA-256 {expected.sha256})"
            )
        move(part, target)
    except OSError as error:
        raise DownloadError(f"{url}: {error}; run the command again to go on where it stopped") from error


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shipped() -> Path:
    return Path(__file__).with_name("data") / "default.npz"


def _openface_folder() -> Path:
    return cache_dir() / "openface-2.2.0"
