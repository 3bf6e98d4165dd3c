"""How workers share the tests (`pytest -n 2`, pytest-xdist), how long each may take, and what is printed at the end."""

import contextlib
import functools
import gc
import importlib
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import structlog
from _pytest.faulthandler import fault_handler_stderr_fd_key
from xdist.scheduler import LoadFileScheduling

from tests.examples import load_usual
from tests.patience import Watchdog, bounded
from tests.quiet_worker import tell_less
from tests.run_summary import said, say
from tests.seconds_by_directory import seconds_by_directory

IN_WORKER = "last_words"  # key of what a worker hands over
# Real nodes and LLM servers, which are timed, and one browser with the nodes that it looks at: one worker runs all of a
# folder, one after the other. Only real nodes for which no LLM server works are by file: they wait for each other.
ONE_BY_ONE = ("tests/real/", "tests/console/")
NODES_ALONE = (
    *(
        "full_disk",
        "network_joining",
        "network_lan",
        "stakes_network",
        "stakes_outages",
        "two_homes",
        "two_homes_relay",
    ),
    "usage",
)
BY_FILE = tuple(f"tests/real/test_{name}.py" for name in NODES_ALONE)
# Or one worker is alone with them at the end.
LONGEST_FIRST = (
    "tests/real/test_two_homes_relay.py",  # three minutes in one worker, nearly all of them waiting
    "tests/console/",  # one and a half
    "tests/real/",  # three, and two homes two
    *(f"tests/{name}/" for name in ("docs", "security", "network", "node", "cli", "tools")),
)
# Coverage's `source` in pyproject.toml, and their own tests. Under its tracer the others would take up to four times as
# long; what they alone reach in these packages is a fact that has no test where it belongs.
MEASURED = ("masa_node.chat", "masa_node.dialects", "masa_node.routing")
MEASURED_BY = ("tests/chat/", "tests/dialects/", "tests/routing/")
COVERAGE = pytest.StashKey[tuple[Any, Any]]()  # its tracers: of this thread, and what new ones begin with

os.environ.pop("COLUMNS", None)  # which a worker has set: what is piped would be folded
load_usual()
_configure = structlog.configure


def _configure_for_now(**how: Any) -> None:  # noqa: ANN401 - whatever structlog takes
    """A logger that is kept goes on writing to where it wrote first: no later test would see its lines."""
    _configure(**{**how, "cache_logger_on_first_use": False})


structlog.configure = _configure_for_now
watchdog = Watchdog()
RECURSION_LIMIT = sys.getrecursionlimit()  # a node's, too; py_ecc, which web3 and vyper import, raises it for all
os.environ["RUST_LIB_BACKTRACE"] = "0"  # RUST_BACKTRACE=1 would make each error of iroh's cost 70 ms
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a script's background job; commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # the same under nohup, which a node heeds
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class ByFile(LoadFileScheduling):
    """A file's tests stay together: in one worker, and in their order."""

    def _split_scope(self, nodeid: str) -> str:
        of = () if nodeid.startswith(BY_FILE) else ONE_BY_ONE
        return next((folder for folder in of if nodeid.startswith(folder)), None) or super()._split_scope(nodeid)

    def _assign_work_unit(self, node: Any) -> None:  # noqa: ANN401 - xdist's own
        """Every second worker begins at the other end, with what only computes: no core is idle while others wait.

        xdist itself looks for each test in the list of all of them.
        """
        scope, tests = self.workqueue.popitem(last=self.nodes.index(node) % 2 == 1)
        self.assigned_work[node][scope] = tests
        node.send_runtest_some([self._places[nodeid] for nodeid, is_done in tests.items() if not is_done])

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        """Of each test in the lists of all workers, which are the same."""
        return {nodeid: place for place, nodeid in enumerate(self.collection or ())}


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """In a worker: say less."""
    if hasattr(config, "workerinput"):
        tell_less(config)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Two more than there are cores: half of a worker's time it waits for nodes, chains and what must not happen."""
    return (yield) + 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:  # noqa: ANN401 - xdist's own
    """Called once, where the workers are started."""
    config.option.loadscopereorder = False  # by the number of tests, which says nothing of how long they take
    return ByFile(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no garbage among a million objects that stay: a second for each worker."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@contextlib.contextmanager
def traced(how: tuple[Any, Any]) -> Iterator[None]:
    """By this tracer and that of new threads (pytest-cov's `no_cover` fails in a worker: it starts coverage twice)."""
    before = sys.gettrace(), threading.gettrace()
    sys.settrace(how[0])
    threading.settrace(how[1])
    try:
        yield
    finally:
        sys.settrace(before[0])
        threading.settrace(before[1])  # type: ignore[arg-type] - as it gives where there is none


@pytest.hookimpl(wrapper=True, specname="pytest_collection")
def pytest_collection_untraced() -> Generator[None, object, object]:
    """Look with coverage's tracer at how the measured packages are imported, not at the import of all else: 11 s."""
    if not _is_coverage(sys.gettrace()):
        importlib.import_module("masa_node.dialects.translation.translator")  # by a thread, which virtual time ignores
        return (yield)
    for room in MEASURED:
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
            importlib.import_module(module.name)
    with traced((None, None)):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Look at none but the measured tests: neither at the others nor at what hands tests to workers."""
    if not _is_coverage(sys.gettrace()):
        return (yield)
    session.stash[COVERAGE] = sys.gettrace(), threading.gettrace()
    with traced((None, None)):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which files are given to workers."""
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in LONGEST_FIRST])


def _is_measured(item: pytest.Item) -> bool:
    return item.nodeid.startswith(MEASURED_BY) and item.get_closest_marker("untraced") is None


def _is_coverage(tracer: object) -> bool:
    return type(tracer).__module__.startswith("coverage")


def pytest_collection_finish() -> None:
    """Leave what was imported and collected, a million objects, out of each search for garbage."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """End the run where it hangs."""
    watchdog.begin(item.config.stash[fault_handler_stderr_fd_key])


def measured(item: pytest.Item) -> contextlib.AbstractContextManager[None]:
    """While something of this test runs. Of what pytest itself does around it, coverage would double the time."""
    coverage = item.session.stash.get(COVERAGE, None)
    return contextlib.nullcontext() if coverage is None or not _is_measured(item) else traced(coverage)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Look at the test, if it is measured."""
    with measured(pyfuncitem):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_fixture_setup(request: pytest.FixtureRequest) -> Generator[None, object, object]:
    """And at what it stands on."""
    with measured(request._pyfuncitem):
        return (yield)


@pytest.hookimpl(wrapper=True, specname="pytest_runtestloop")
def pytest_runtestloop_watched() -> Generator[None, object, object]:
    """None whose tests are at their end hangs, whatever it does then."""
    try:
        return (yield)
    finally:
        watchdog.rest()


def pytest_enter_pdb() -> None:
    """Nor one at which somebody looks."""
    watchdog.rest()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Start from what the node has, whatever has been imported."""
    sys.setrecursionlimit(RECURSION_LIMIT)
    with bounded():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Bound the test itself."""
    with bounded():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """No fixture's end may wait for ever, either."""
    with bounded():
        return (yield)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """No test finds how a command that ran in an earlier one has set up logs, in the same process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


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
    for report in terminalreporter.stats.get("rerun", []):
        title = f"FAILED ONCE, WAS RUN AGAIN, IS TO BE MENDED: {report.nodeid}"
        terminalreporter.section(title, sep="!", red=True, bold=True)
        terminalreporter.line(report.longreprtext)
    terminalreporter.section("where the time went", sep="=")
    for line in seconds_by_directory(report for reports in terminalreporter.stats.values() for report in reports):
        terminalreporter.line(line)
