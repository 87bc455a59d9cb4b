"""Who may import whom: one direction of travel, and one door to the compiled code."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pyclnf

PACKAGE = Path(pyclnf.__file__).parent

# The only modules that call the kernels.
KERNEL_USERS = {
    "pdm",
    "patch_experts",
    "nu_rlms",
    "crop",
    "cascade",
    "descent",
    "start",
    "network",
    "refiner",
    "camera",
    "_mtcnn",
}

# What each layer below the public surface may import, besides errors and limits.
ALLOWED = {
    "errors": set(),
    "pdm": {"_kernels"},
    "patch_experts": {"_kernels"},
    "nu_rlms": {"_kernels", "pdm", "patch_experts"},
    "camera": {"_kernels", "pdm"},
    "crop": {"_kernels", "pdm"},
    "descent": {"_kernels", "pdm"},
    "_arrays": set(),
    "_mtcnn": {"_kernels"},
    "cascade": {"_arrays", "_kernels", "pdm"},
    "network": {"_arrays", "_kernels", "descent", "pdm"},
    "refiner": {"_arrays", "_kernels", "network", "pdm"},
    "start": {"_arrays", "_kernels", "cascade", "crop", "descent", "network", "pdm", "refiner"},
}

# What sits on top: nothing below may import it.
TOP = {"cli", "__main__"}


def module_name(path: Path) -> str:
    """Return the dotted name below the package; the package itself is ''."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


class Imports(ast.NodeVisitor):
    """Collects the pyclnf modules that a module imports when it runs, lazily inside functions too."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.package = module.split(".") if module else []
        if not is_package:
            self.package = self.package[:-1]
        self.found: set[str] = set()
        self.at_import: set[str] = set()
        self.depth = 0

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] == "pyclnf":
                self.add(alias.name.partition(".")[2])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            base = self.package[: len(self.package) - node.level + 1]
        elif node.module and node.module.split(".")[0] == "pyclnf":
            base = []
            node.module = node.module.partition(".")[2]
        else:
            return
        target = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{target}.{alias.name}" if target else alias.name
            self.add(inner if inner in MODULES else target)

    def add(self, name: str) -> None:
        self.found.add(name)
        if self.depth == 0:
            self.at_import.add(name)


def imports(module: str) -> Imports:
    path = MODULES[module]
    visitor = Imports(module, path.name == "__init__.py")
    visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
    return visitor


def test_the_visitor_sees_imports() -> None:
    """Otherwise the tests below would pass on anything."""
    assert "_kernels" in imports("pdm").found
    assert {"_kernels", "errors", "pdm"} <= imports("nu_rlms").found
    assert "clnf" in imports("").found
    visitor = Imports("_kernels", True)
    visitor.visit(
        ast.parse("from .. import pdm\nfrom ..pdm import PDM\nimport pyclnf.model\nfrom pyclnf import clnf")
    )
    assert visitor.found == {"pdm", "model", "clnf"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == "_kernels"])
def test_kernels_import_nothing_of_the_package(module: str) -> None:
    assert {name for name in imports(module).found if name.split(".")[0] != "_kernels"} == set()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.px?")), ids=lambda path: path.name)
def test_compiled_sources_import_nothing_of_the_package(path: Path) -> None:
    assert "pyclnf" not in "".join(
        line for line in path.read_text(encoding="utf-8").splitlines() if "import" in line.split()
    )


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name.split(".")[0] not in {"_kernels", *KERNEL_USERS}]
)
def test_kernels_have_one_door(module: str) -> None:
    assert not [name for name in imports(module).found if name.split(".")[0] == "_kernels"]


@pytest.mark.parametrize("module", ALLOWED)
def test_layers_import_only_what_is_below(module: str) -> None:
    assert imports(module).found <= ALLOWED[module] | {"errors", "_limits"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] not in TOP])
def test_nothing_imports_the_command_line(module: str) -> None:
    assert not TOP & imports(module).found


def test_no_cycles() -> None:
    """Imports inside functions count too, except the one by which a model is read from its files."""
    back = ("model", "openface")
    assert back[1] not in imports(back[0]).at_import
    graph = {
        module: {name for name in imports(module).found - {module} if (module, name) != back}
        for module in MODULES
        if module
    }
    order = list(TopologicalSorter(graph).static_order())
    assert set(MODULES) - {""} <= set(order)
