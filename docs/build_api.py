"""Build the API reference from the docstrings: python docs/build_api.py [FOLDER], default build/api.

Needs the extra ``docs``. A warning, from a docstring that cannot be read for example, is an error.
"""

from __future__ import annotations

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import pyclnf


def public_modules() -> list[str]:
    """Return the modules without a leading underscore anywhere in their names."""
    names = [module.name for module in pkgutil.walk_packages(pyclnf.__path__, "pyclnf.")]
    return ["pyclnf", *(name for name in names if not any(part.startswith("_") for part in name.split(".")))]


def main() -> None:
    """Build all pages."""
    warnings.simplefilter("error")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/api")
    pdoc.render.configure(docformat="numpy", footer_text=f"pyclnf {pyclnf.__version__}")
    modules = public_modules()
    pdoc.pdoc(*modules, output_directory=folder)
    missing = [name for name in modules if not (folder / f"{name.replace('.', '/')}.html").is_file()]
    if missing:
        raise SystemExit(f"no page for {', '.join(missing)}")
    print(f"{len(modules)} modules in {folder / 'index.html'}")


if __name__ == "__main__":
    main()
