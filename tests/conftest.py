"""How workers share the tests (`pytest -n 2`, pytest-xdist), how long each may take, and what is printed at the end."""

import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests.patience import bounded
from tests.run_summary import said, say
from tests.seconds_by_directory import seconds_by_directory

IN_WORKER = "last_words"  # key of what a worker hands over
# Real nodes and LLM servers, which are timed: one worker runs all of them, one after the other.
ONE_BY_ONE = "tests/real/"
LONGEST_FIRST = (ONE_BY_ONE, "tests/security/", "tests/network/")  # or one worker is alone with them at the end
# Under coverage they take four times as long, and reach nothing in the measured packages that other tests do not.
NOT_MEASURED = (ONE_BY_ONE, "tests/security/", "tests/network/", "tests/cli/", "tests/routing/test_steps.py")

# Coverage's `source` in pyproject.toml.
MEASURED = ("masa_node.chat", "masa_node.dialects", "masa_node.routing")

# How long an example takes is no fact on a machine that does something else too.
settings.register_profile(
    "untimed", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
RECURSION_LIMIT = sys.getrecursionlimit()  # a node's, too; py_ecc, which web3 and vyper import, raises it for all
os.environ["RUST_LIB_BACKTRACE"] = "0"  # RUST_BACKTRACE=1 would make each error of iroh's cost 70 ms
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a script's background job; commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # the same under nohup, which a node heeds
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class ByFile(LoadFileScheduling):
    """A file's tests stay together: in one worker, and in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return ONE_BY_ONE if nodeid.startswith(ONE_BY_ONE) else super()._split_scope(nodeid)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One more than there are cores: a third of a worker's time it waits for nodes, chains and what must not happen."""
    return (yield) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:  # noqa: ANN401 - xdist's own
    """Called once, where the workers are started."""
    config.option.loadscopereorder = False  # by the number of tests, which says nothing of how long they take
    return ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look with coverage's tracer at how the measured packages are imported, and not at the import of all else: 11
    s.
    """
    tracer = sys.gettrace()
    if not type(tracer).__module__.startswith("coverage"):
        return (yield)
    for room in MEASURED:
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
            importlib.import_module(module.name)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which files are given to workers."""
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in LONGEST_FIRST])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Start from what the node has, whatever has been imported."""
    sys.setrecursionlimit(RECURSION_LIMIT)
    with bounded():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Take coverage's tracer off (pytest-cov's `no_cover` fails in a worker, where it starts coverage twice)."""
    tracer = sys.gettrace()
    is_measured = not item.nodeid.startswith(NOT_MEASURED) and type(tracer).__module__.startswith("coverage")
    sys.settrace(tracer if is_measured else None)
    try:
        with bounded():
            return (yield)
    finally:
        sys.settrace(tracer)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """No fixture's end may wait for ever, either."""
    with bounded():
        return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker: hand over what is to be printed."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output[IN_WORKER] = said(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - xdist's own
    """Take over what a worker hands over."""
    for title, lines in getattr(node, "workeroutput", {}).get(IN_WORKER, {}).items():
        say(node.config, title, *lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print it."""
    for title, lines in sorted(said(config).items()):
        is_loud = title.isupper()
        terminalreporter.section(title, sep="!" if is_loud else "=", red=is_loud, bold=is_loud)
        for line in lines:
            terminalreporter.line(line)
    terminalreporter.section("where the time went", sep="=")
    for line in seconds_by_directory(report for reports in terminalreporter.stats.values() for report in reports):
        terminalreporter.line(line)
