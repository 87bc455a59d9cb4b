"""Mutation testing: change one thing of a function, and see whether a test fails.

    python tests/mutation/mutate.py pdm                  # a module of settings.toml
    python tests/mutation/mutate.py pdm --every 4        # every fourth mutant
    python tests/mutation/mutate.py pdm --only from_box  # functions whose name holds this

All tests of a module are collected and run once; then each mutant gets a fork of that process, in which
the function's code is replaced and the tests run until one fails. Nothing is imported again, so that a
mutant costs little more than its tests. Runs where there is fork.

Operators, on bodies of functions (not on docstrings, messages, annotations and defaults):

=============  ================================================================================
compare        < and <=, > and >=, == and !=, is and is not, in and not in: one for the other
arithmetic     + and -, * and /: one for the other; ** becomes *, % becomes *, // becomes /
augmented      += and -=, *= and /=: one for the other
boolean        and becomes or, or becomes and
not, minus     `not x` and `-x` become `x`
number         n becomes n + 1, True becomes False, False becomes True
condition      the condition of if, while, a conditional expression becomes its contrary
loop           break becomes continue, continue becomes break
value          what is assigned to a name or an attribute, or returned, becomes None
call           a statement that is a call is left out
=============  ================================================================================
"""

from __future__ import annotations

import argparse
import ast
import copy
import functools
import importlib
import itertools
import math
import os
import resource
import sys
import time
import tomllib
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Mod: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
# Seconds that a mutant's tests may take beyond twice what they took: what runs longer does not end.
CPU_LIMIT = 20


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, what it is, and the function with it."""

    function: str
    line: int
    what: str
    code: types.CodeType

    def __str__(self) -> str:
        return f"{self.function}:{self.line}: {self.what}"

    @property
    def name(self) -> str:
        """What settings.toml calls it: without the line, which moves."""
        return f"{self.function}: {self.what}"


def changes(node: ast.AST) -> Iterator[tuple[ast.AST | None, str]]:
    """Return what a node may become (None: it is left out), with a word for each."""
    new: Any
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            if type(operator) in SWAPPED:
                new = copy.deepcopy(node)
                new.ops[i] = SWAPPED[type(operator)]()
                yield new, "compare"
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPPED:
        new = copy.deepcopy(node)
        new.op = SWAPPED[type(node.op)]()
        yield new, {ast.BinOp: "arithmetic", ast.AugAssign: "augmented"}.get(type(node), "boolean")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand, "not" if isinstance(node.op, ast.Not) else "minus"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield ast.Constant(value), "number"
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        new = copy.deepcopy(node)
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield new, "condition"
    elif isinstance(node, ast.Break | ast.Continue):
        yield (ast.Continue() if isinstance(node, ast.Break) else ast.Break()), "loop"
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            new = copy.deepcopy(node)
            new.value = ast.Constant(None)
            yield new, "value"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass(), "call"


def places(
    node: ast.AST, statement: ast.AST | None = None
) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Return every place below a node whose content may be changed: parent, field, index, statement."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "args", "decorator_list") and isinstance(
            node, ast.FunctionDef | ast.AnnAssign
        ):
            continue
        children = value if isinstance(value, list) else [value]
        for i, child in enumerate(children):
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr | ast.Raise):  # messages
                continue
            own = child if isinstance(child, ast.stmt) or statement is None else statement
            yield node, field, i if isinstance(value, list) else None, own
            yield from places(child, own)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Return the functions of a module and of its classes by their qualified names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")


def code_of(module: ast.Module, path: str, name: str) -> types.CodeType:
    """Compile a module and return the code of one of its functions."""
    found: list[types.CodeType] = [compile(ast.fix_missing_locations(module), path, "exec")]
    for code in found:
        if code.co_qualname == name:
            return code
        found += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    raise LookupError(name)


def mutants(path: Path) -> Iterator[Mutant]:
    """Return all mutants of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, function in functions(tree):
        for parent, field, index, statement in list(places(function)):
            value = getattr(parent, field)
            node = value if index is None else value[index]
            for new, what in changes(node):
                # The whole statement, so that two mutants of a function have two names.
                before = first_line(statement)
                ast.fix_missing_locations(ast.copy_location(new, node))  # type: ignore[arg-type]
                put(parent, field, index, new)
                after = first_line(new if statement is node else statement)  # type: ignore[arg-type]
                yield Mutant(
                    name, node.lineno, f"{what}: {before}  ->  {after}", code_of(tree, str(path), name)
                )  # type: ignore[attr-defined]
                put(parent, field, index, node)


def put(parent: ast.AST, field: str, index: int | None, node: Any) -> None:
    """Set what a place holds."""
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def first_line(statement: ast.AST) -> str:
    """Return a statement in one line, without the body that it may have."""
    return ast.unparse(statement).splitlines()[0]


def function_named(module: types.ModuleType, name: str) -> tuple[types.FunctionType, Callable[[], None]]:
    """Return a function of a module, and what forgets its results."""
    owner: Any = module
    *classes, last = name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    found = vars(owner)[last]
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, classmethod | staticmethod):
        found = found.__func__
    forget = getattr(found, "cache_clear", lambda: None)
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    return found, forget


class Plugin:
    """Runs the collected tests on the module as it is, and then on each mutant in a fork."""

    def __init__(self, module: str, every: int, only: str, equivalent: list[str]) -> None:
        self.module, self.every, self.only, self.equivalent = module, every, only, set(equivalent)
        self.survivors: list[Mutant] = []
        self.stale: list[str] = []
        self.count = self.killed = self.known = 0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let property tests try few examples, the same ones every time."""
        from hypothesis import settings

        for item in items:
            test = getattr(item, "obj", None)
            own = getattr(test, "_hypothesis_internal_use_settings", None)
            if own is not None:
                few = settings(own, max_examples=12, derandomize=True, database=None)
                test._hypothesis_internal_use_settings = few  # type: ignore[union-attr]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all."""
        from _pytest.runner import runtestprotocol

        def passes(item: pytest.Item, following: pytest.Item) -> bool:
            return all(not report.failed for report in runtestprotocol(item, log=False, nextitem=following))

        def lives(mutant: Mutant | None) -> bool:
            """Say whether all tests pass in a fork, on a mutant or on the module as it is."""
            pid = os.fork()
            if pid == 0:
                resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
                try:
                    if mutant is not None:
                        devnull = os.open(os.devnull, os.O_WRONLY)
                        os.dup2(devnull, 1), os.dup2(devnull, 2)
                        function, forget = function_named(module, mutant.function)
                        function.__code__ = mutant.code
                        forget()
                    for item, following in itertools.pairwise([*items, items[0]]):
                        if not passes(item, following):
                            print(f"{item.nodeid} fails when it runs once more", flush=True)
                            os._exit(1)
                except BaseException:
                    os._exit(1)
                os._exit(0)
            return os.waitpid(pid, 0)[1] == 0

        took: dict[pytest.Item, float] = {}
        for i, item in enumerate(session.items):
            start = time.process_time()
            if not passes(item, session.items[(i + 1) % len(session.items)]):
                raise pytest.UsageError(f"{item.nodeid} fails on the module as it is")
            took[item] = time.process_time() - start
        # Fast tests first, modules kept together for their fixtures.
        order = {path: i for i, path in enumerate(dict.fromkeys(item.path for item in session.items))}
        items = sorted(session.items, key=lambda item: (order[item.path], took[item]))
        print(f"{len(items)} tests in {sum(took.values()):.1f} s", flush=True)
        limit = CPU_LIMIT + math.ceil(2 * sum(took.values()))
        module = importlib.import_module(f"pyclnf.{self.module}")
        if not lives(None):
            raise pytest.UsageError("no mutant would survive such tests")
        every = list(mutants(Path(module.__file__ or "")))
        self.stale = sorted(self.equivalent - {mutant.name for mutant in every})
        for name in self.stale:
            print(f"settings.toml names a mutant that there is not: {name}", flush=True)
        found = [one for one in every if self.only in one.function]
        for mutant in found[:: self.every]:
            self.count += 1
            function, _ = function_named(module, mutant.function)
            assert function.__code__.co_freevars == mutant.code.co_freevars, mutant
            if not lives(mutant):
                self.killed += 1
            elif mutant.name in self.equivalent:
                self.known += 1
            else:
                self.survivors.append(mutant)
                print(f"survived  {mutant}", flush=True)
        print(
            f"pyclnf.{self.module}: {self.count} of {len(found)} mutants, {self.killed} killed, "
            f"{self.known} known to change nothing, {len(self.survivors)} survived",
            flush=True,
        )
        return True


def main() -> int:
    """Mutate the module named and return 1 if one survives that settings.toml does not explain."""
    settings = tomllib.loads((HERE / "settings.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("module", choices=list(settings))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    root = HERE.parents[1]
    own = settings[options.module]
    # Fixtures that many tests share are made once, before the first fork.
    sys.path.insert(0, str(root / "tests"))
    import generate_model

    generate_model.generate_model = functools.cache(generate_model.generate_model)
    plugin = Plugin(options.module, options.every, options.only, own.get("equivalent", []))
    tests = [str(root / test) for test in own["tests"]]
    code = pytest.main(
        ["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-s", *tests], plugins=[plugin]
    )
    return int(bool(code) or not plugin.count or bool(plugin.survivors or plugin.stale))


if __name__ == "__main__":
    sys.exit(main())
