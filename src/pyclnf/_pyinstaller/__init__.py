"""How PyInstaller freezes an application that uses pyclnf; it asks by the entry point pyinstaller40."""

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """Return the folders with hooks for PyInstaller."""
    return [str(Path(__file__).parent)]
