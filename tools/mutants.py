"""`make mutants`: changes one thing at a time in modules that decide who is let in, and sees whether a test notices.

A mutant that no test kills is a decision that no test checks, unless it means the same as the original: those are in
tools/explained_mutants.py. Any other survivor is a failure, and so is an explanation of a mutant that no longer
survives. Each mutant is tried in a fork, with the libraries loaded before.

    python -m tools.mutants [MODULE ...]      all of TARGETS without one
"""

import ast
import contextlib
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest

from tools.explained_mutants import EXPLAINED

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = PROJECT / "src"
TARGETS: dict[str, tuple[str, ...]] = {
    "masa_node.network.links.membership": ("tests/network/links/test_membership.py",),
    "masa_node.network.links.vouched": ("tests/network/links/test_vouched.py",),
    "masa_node.network.links.vouchers": (
        "tests/network/links/test_vouchers.py",
        "tests/network/links/test_vouchers_shown.py",
        "tests/network/test_protocol_vectors.py",
    ),
    "masa_node.api.guard": ("tests/api/test_guard.py", "tests/api/test_origins.py"),
    "masa_node.accounts.keys": ("tests/accounts/test_keys.py",),
    "masa_node.accounts.key_limits": ("tests/accounts/test_key_limits.py",),
    "masa_node.accounts.access": ("tests/accounts/test_access.py",),
    "masa_node.accounts.sessions": ("tests/accounts/test_sessions.py",),
    "masa_node.network.transport.addresses": ("tests/network/transport/test_addresses.py",),
    "masa_node.staking.delegation": ("tests/staking/test_delegation.py",),
}
AT_MOST_S = 60  # a mutant may loop for ever
KILLED, SURVIVED = 1, 0
_PROFILE = "mutants"
_PHASES = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # that it fails is enough, no need for a short example
_RUN = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--assert=plain")
_OPTIONS = (*_RUN, "--hypothesis-seed=0", f"--hypothesis-profile={_PROFILE}")

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}


class Mutant(NamedTuple):
    """`change` in words, at `line` in `location` (the name of a function, class or constant), and the module with
    it.
    """

    line: int
    location: str
    change: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Every one of them."""
    tree = ast.parse(source)
    for at, variant, line, (location, change) in changes_in(tree):
        changed = copy.deepcopy(tree)
        _, apply = _changes(_node_at(changed, at))[variant]
        apply()
        yield Mutant(line, location, change, ast.fix_missing_locations(changed))


def changes_in(tree: ast.Module) -> Iterator[tuple[int, int, int, tuple[str, str]]]:
    """Which node, which of its changes, its line; place and change in words. Nothing is changed."""
    words = _words(tree)
    places = _places(tree)
    for at, node in enumerate(ast.walk(tree)):
        if node in words:
            continue
        for variant, (what, _) in enumerate(_changes(node)):
            change = f"{what}: {ast.unparse(node).splitlines()[0]}"
            yield at, variant, getattr(node, "lineno", 0), (places.get(node, ""), change)


def _node_at(tree: ast.Module, at: int) -> ast.AST:
    return next(node for number, node in enumerate(ast.walk(tree)) if number == at)


def _places(tree: ast.Module) -> dict[ast.AST, str]:
    """By each node the innermost name that something is given around it."""
    places: dict[ast.AST, str] = {}
    for outer in ast.walk(tree):  # from outside to inside
        match outer:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if isinstance(places.get(outer), str) and places[outer].islower():  # a variable of a function
                    continue
            case _:
                continue
        places.update(dict.fromkeys(ast.walk(outer), name))
    return places


def _words(tree: ast.Module) -> set[ast.AST]:
    """Docstrings and messages, which decide nothing. They stay as they are: a test may look for one of them."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(node.value)
        if isinstance(node, ast.JoinedStr):
            found.update(inner for value in node.values for inner in ast.walk(value))
        if isinstance(node, ast.Raise | ast.Call) and _is_about_an_error(node):
            found.update(
                inner for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
            )
    return found


def _is_about_an_error(node: ast.Raise | ast.Call) -> bool:
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    return isinstance(node, ast.Raise) or name == "LinkRefused"


def _changes(node: ast.AST) -> list[tuple[str, Callable[[], None]]]:
    """What may be changed in this node itself: words, and how to do it in place."""
    for kind, change in _CHANGES.items():
        if isinstance(node, kind):
            return change(node)
    return []


def _of_compare(node: ast.Compare) -> list[tuple[str, Callable[[], None]]]:
    found: list[tuple[str, Callable[[], None]]] = []
    for location, op in enumerate(node.ops):
        other = _COMPARISONS.get(type(op))
        if other is not None:
            found.append((f"to {other.__name__}", partial(_put, node.ops, location, other())))
    return found


def _of_bool_op(node: ast.BoolOp) -> list[tuple[str, Callable[[], None]]]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return [(f"to {type(other).__name__}", partial(setattr, node, "op", other))]


def _of_unary_op(node: ast.UnaryOp) -> list[tuple[str, Callable[[], None]]]:
    if not isinstance(node.op, ast.Not):
        return []
    return [("without not", partial(setattr, node, "operand", ast.UnaryOp(ast.Not(), node.operand)))]


def _of_bin_op(node: ast.BinOp) -> list[tuple[str, Callable[[], None]]]:
    other = _OPERATORS.get(type(node.op))
    return [] if other is None else [(f"to {other.__name__}", partial(setattr, node, "op", other()))]


def _of_constant(node: ast.Constant) -> list[tuple[str, Callable[[], None]]]:
    match node.value:
        case bool():
            other: object = not node.value
        case int():
            other = node.value + 1
        case str() | bytes() if node.value:
            other = node.value * 2
        case _:
            return []
    return [(f"to {other!r}", partial(setattr, node, "value", other))]


def _of_if(node: ast.If | ast.IfExp) -> list[tuple[str, Callable[[], None]]]:
    never, always = ast.Constant(value=False), ast.Constant(value=True)
    return [("never", partial(setattr, node, "test", never)), ("always", partial(setattr, node, "test", always))]


def _of_return(node: ast.Return) -> list[tuple[str, Callable[[], None]]]:
    if node.value is None or isinstance(node.value, ast.Constant):
        return []
    return [("returns None", partial(setattr, node, "value", ast.Constant(None)))]


def _of_expr(node: ast.Expr) -> list[tuple[str, Callable[[], None]]]:
    return (
        [("not called", partial(setattr, node, "value", ast.Constant(None)))]
        if isinstance(node.value, ast.Call)
        else []
    )


_CHANGES: dict[type[ast.AST], Callable[[Any], list[tuple[str, Callable[[], None]]]]] = {
    ast.Compare: _of_compare,
    ast.BoolOp: _of_bool_op,
    ast.UnaryOp: _of_unary_op,
    ast.BinOp: _of_bin_op,
    ast.Constant: _of_constant,
    ast.If: _of_if,
    ast.IfExp: _of_if,
    ast.Return: _of_return,
    ast.Expr: _of_expr,
}


def _put(ops: list[ast.cmpop], location: int, op: ast.cmpop) -> None:
    ops[location] = op


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Gives the mutant wherever the module is imported."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self._module = module
        self._code = compile(tree, f"<mutant of {module}>", "exec")

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        del path, target
        return importlib.util.spec_from_loader(name, self) if name == self._module else None

    def get_source(self, fullname: str) -> str | None:
        del fullname
        return None

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        del fullname
        return self._code


def survives(module: str, tree: ast.Module, tests: Sequence[str]) -> bool:
    """Do all tests pass with it?"""
    child = os.fork()
    if child == 0:
        code = KILLED
        try:
            sys.meta_path.insert(0, _Loader(module, tree))
            _be_quiet()
            code = SURVIVED if pytest.main([*_OPTIONS, *tests]) == 0 else KILLED
        finally:
            os._exit(code)
    until_s = time.monotonic() + AT_MOST_S
    while time.monotonic() < until_s:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == SURVIVED
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _load_libraries(tests: Sequence[str]) -> None:
    """What the tests load and is not ours, once for all forks: most of these libraries take longer than the tests."""
    reading_end, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _be_quiet()
            pytest.main([*_OPTIONS, "--collect-only", *tests])
            ours = tuple(str(PROJECT / folder) for folder in ("src", "tests", "tools"))
            files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
            names = [name for name, file in files.items() if file and not file.startswith(ours)]
            with os.fdopen(tell, "w") as pipe:
                pipe.write("\n".join(names))
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(reading_end) as pipe:
        names = pipe.read().split()
    os.waitpid(child, 0)
    for name in names:
        with contextlib.suppress(Exception):  # it is loaded in each fork, then
            importlib.import_module(name)


def _be_quiet() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def main(modules: Sequence[str]) -> int:
    """Try all. The exit code is 0 where those that survive are those that are explained."""
    os.chdir(PROJECT)
    sys.path.insert(0, str(PROJECT))
    for plugin in importlib.metadata.entry_points(group="pytest11"):
        plugin.load()  # once, for all forks
    hypothesis.settings.register_profile(
        _PROFILE, deadline=None, phases=_PHASES, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    is_well = True
    for module in modules or TARGETS:
        survivors = _survivors_of(module)
        for complaint in complaints(module, survivors, EXPLAINED.get(module, {})):
            is_well = False
            print(f"  {complaint}", flush=True)
    print("all survivors are explained" if is_well else "see above; docs/mutation-testing.md says what to do")
    return 0 if is_well else 1


def _survivors_of(module: str) -> list[Mutant]:
    _load_libraries(TARGETS[module])
    source = SOURCES.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8")
    if not survives(module, ast.parse(source), TARGETS[module]):
        raise SystemExit(f"{module}: its tests fail as it is, or none was found")
    found: list[Mutant] = []
    killed = 0
    for mutant in mutants(source):
        if survives(module, mutant.tree, TARGETS[module]):
            found.append(mutant)
        else:
            killed += 1
    print(f"{module}: {killed} killed, {len(found)} survived", flush=True)
    return found


def complaints(module: str, survivors: Sequence[Mutant], explained: Mapping[tuple[str, str], str]) -> list[str]:
    """What is wrong with these survivors: one that is not explained, and an explanation of none."""
    seen: set[tuple[str, str]] = set()
    new: list[Mutant] = []
    for mutant in survivors:
        key = (mutant.location, mutant.change)
        if key not in explained or key in seen:  # one explains one, not another that happens to be called the same
            new.append(mutant)
        seen.add(key)
    return [
        *(f"{module}:{mutant.line} survived: {mutant.location!r}, {mutant.change!r}" for mutant in new),
        *(f"{module}: explained, and did not survive: {key}" for key in explained if key not in seen),
    ]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
