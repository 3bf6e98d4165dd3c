"""Fixtures for tests with a real llama.cpp server behind the node and real SDKs in front of it.

The server is that of a pinned wheel (requirements/llm.txt); where there is none, Debian's is fetched. Model files are
made once, into `.cache/` of the project. Where no server can be had, these tests are skipped, and the end of pytest's
output says so; MASA_REAL_REQUIRED=1 makes that a failure.
"""

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import anthropic
import ollama
import openai
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from calling import LLM_TIMEOUT_S
from homes import relay_program
from homes import what_is_missing as homes_missing
from llama_server import LlamaServer, Program, serving
from meeting import StartNode, StartTrio, Supplier, Trio, bootnode, write_upstreams
from netns import what_is_missing as netns_missing
from netns import why_not
from node_process import PROJECT, Node
from pair import Pair, Serve

from tests.lacking import lacking, lacking_what_takes_long
from tests.run_summary import say

CACHE = PROJECT / ".cache"
CANNOT_BE_HAD = 3  # exit code of get_llama_server.sh
DEBIANS_OPTIONS = ("--host", "127.0.0.1", "--jinja", "--slots", "--no-ui", "--offline")  # the wheel's always has them
FETCH_S = 300.0
SDK_TIMEOUT_S = 30.0
NOT_RUN = "NOTHING WAS TESTED WITH A REAL LLM SERVER"


@pytest.fixture(scope="session")
def llama_program(pytestconfig: pytest.Config) -> Program:
    """The server: that of the pinned wheel, else Debian's, fetched when it is not there."""
    if importlib.util.find_spec("xllamacpp") is not None:
        return (sys.executable, str(PROJECT / "tools" / "llama_server.py"))
    directory = CACHE / "llama"
    directory.mkdir(parents=True, exist_ok=True)
    script = PROJECT / "tools" / "get_llama_server.sh"
    fetch = subprocess.run([script, directory], capture_output=True, text=True, timeout=FETCH_S, check=False)
    if fetch.returncode == CANNOT_BE_HAD:
        say(pytestconfig, NOT_RUN, fetch.stderr.strip())
        lacking(f"no wheel of xllamacpp is installed, and there is {fetch.stderr.strip()}")
    assert fetch.returncode == 0, fetch.stderr
    return (str(directory / "llama-server"), *DEBIANS_OPTIONS)


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> Callable[[str, float, float], None]:
    """Call it with what was measured, the seconds and the most that is allowed: printed at the end, and asserted."""

    def note(what: str, seconds: float, at_most_s: float) -> None:
        row = f"{what}: {seconds:.3f} s (at most {at_most_s:g} s)"
        say(pytestconfig, "measured between real nodes", row)
        assert seconds <= at_most_s, what

    return note


@pytest.fixture
def homes_are_possible() -> None:
    """Namespaces, and what routers are made of."""
    if why := netns_missing() or homes_missing():
        lacking(why)
    if why := why_not():
        pytest.skip(why)


@pytest.fixture
def relay_is_built(pytestconfig: pytest.Config) -> None:
    """An iroh-relay that can be started."""
    if not relay_program():
        lacking_what_takes_long(pytestconfig, "iroh-relay")


@pytest.fixture(scope="session", autouse=True)
def _no_proxy_on_the_way() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("NO_PROXY", "no_proxy"):
            environment.setenv(name, "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="session")
def start_server(
    llama_program: Program, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], contextlib.AbstractContextManager[LlamaServer]]:
    """Call it with a model's name: a context manager that runs a server of one's own."""

    def start(name: str) -> contextlib.AbstractContextManager[LlamaServer]:
        return serving(llama_program, name, CACHE / "models", tmp_path_factory.mktemp(name))

    return start


@pytest.fixture(scope="session")
def start_node(tmp_path_factory: pytest.TempPathFactory) -> StartNode:
    """Call it with settings: a context manager that runs a node of one's own, which must never show a stack trace."""

    @contextlib.contextmanager
    def start(*, ready_path: str = "/readyz", **settings: str) -> Generator[Node]:
        with Node(tmp_path_factory.mktemp("node"), settings, ready_path) as node:
            yield node
        log = node.log.read_text(errors="replace")
        assert "Traceback" not in log, log[log.index("Traceback") :][:4000]

    return start


@pytest.fixture(scope="session")
def server_of(
    start_server: Callable[[str], contextlib.AbstractContextManager[LlamaServer]],
) -> Iterator[Callable[[str], LlamaServer]]:
    """Call it with a model's name: a server that lives as long as the session."""
    servers: dict[str, LlamaServer] = {}
    with contextlib.ExitStack() as running:

        def server(name: str) -> LlamaServer:
            if name not in servers:
                servers[name] = running.enter_context(start_server(name))
            return servers[name]

        yield server


@pytest.fixture(scope="session")
def serve(server_of: Callable[[str], LlamaServer], start_node: StartNode) -> Iterator[Serve]:
    """Call it with a model's name: a server and a node in front of it, which live as long as the session."""
    pairs: dict[str, Pair] = {}
    with contextlib.ExitStack() as running:

        def pair(name: str) -> Pair:
            if name not in pairs:
                server = server_of(name)
                pairs[name] = Pair(server, running.enter_context(start_node(LLM_CHAT_URL=server.url)))
            return pairs[name]

        yield pair


@pytest.fixture(scope="session")
def start_peer(start_node: StartNode) -> StartNode:
    """As `start_node`, for a node that is on a network and may have no LLM."""

    def start(**settings: str) -> contextlib.AbstractContextManager[Node]:
        return start_node(ready_path="/healthz", NETWORK="on", FIND_LOCAL="0", **settings)

    return start


@pytest.fixture(scope="session")
def start_trio(
    server_of: Callable[[str], LlamaServer],
    start_server: Callable[[str], contextlib.AbstractContextManager[LlamaServer]],
    start_peer: StartNode,
    tmp_path_factory: pytest.TempPathFactory,
) -> StartTrio:
    """Call it: three nodes, of which two share real models, linked and with all they share known to the first.

    Both serve `endless` and `tardy` from servers of their own, which need 4 ms a token of a prompt for `tardy`; left
    serves `late` fast and right slowly; `left` is left's alone; the servers of all else, which only read, are shared.
    """
    alone: dict[str, dict[str, tuple[str, ...]]] = {
        "left": {"endless": ("endless", "late", "left"), "slow": ("tardy",)},
        "right": {"endless": ("endless",), "slow": ("tardy", "late")},
    }

    @contextlib.contextmanager
    def supplier(name: str, **settings: str) -> Generator[Supplier]:
        with contextlib.ExitStack() as running:
            servers = {model: running.enter_context(start_server(model)) for model in alone[name]}
            models = {servers[model].url: names for model, names in alone[name].items()}
            models |= {server_of(model).url: (model,) for model in ("count", "utf8", "think", "tool")}
            config = tmp_path_factory.mktemp(name) / "masa.toml"
            write_upstreams(config, models)
            settings |= {"MASA_CONFIG": str(config), "DEMO": "1", "MAX_PEER_JOBS": "16"}
            settings["LLM_TIMEOUT"] = str(LLM_TIMEOUT_S)
            settings["LLM_REFRESH"] = "3600"  # no connection but those of requests
            yield Supplier(running.enter_context(start_peer(**settings)), servers)

    @contextlib.contextmanager
    def start(demo_pieces_per_s: str = "40") -> Generator[Trio]:
        with (
            start_peer(OPEN_NETWORK="1", LLM_TIMEOUT=str(LLM_TIMEOUT_S)) as requester,
            contextlib.ExitStack() as running,
        ):
            settings = {"BOOTNODES": bootnode(requester), "DEMO_PIECES_PER_S": demo_pieces_per_s}
            trio = Trio(requester, *(running.enter_context(supplier(name, **settings)) for name in alone))
            trio.wait_until_known()
            yield trio

    return start


@pytest.fixture(scope="session")
def trio(start_trio: StartTrio) -> Iterator[Trio]:
    """Three nodes, shared by all tests that leave them as they are."""
    with start_trio() as nodes:
        yield nodes


@pytest.fixture
def openai_at() -> Iterator[Callable[[str], openai.OpenAI]]:
    """Call it with a base URL: an OpenAI client, which tells of each failure instead of trying again."""
    with contextlib.ExitStack() as clients:

        def connect(url: str) -> openai.OpenAI:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=SDK_TIMEOUT_S)
            return clients.enter_context(client)

        yield connect


@pytest.fixture
def anthropic_at() -> Iterator[Callable[[str], anthropic.Anthropic]]:
    """Call it with a base URL: an Anthropic client, which tells of each failure instead of trying again."""
    with contextlib.ExitStack() as clients:

        def connect(url: str) -> anthropic.Anthropic:
            client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=SDK_TIMEOUT_S)
            return clients.enter_context(client)

        yield connect


@pytest.fixture
def ollama_at() -> Iterator[Callable[[str], ollama.Client]]:
    """Call it with a base URL: an Ollama client."""
    with contextlib.ExitStack() as clients:

        def connect(url: str) -> ollama.Client:
            client = ollama.Client(host=url, timeout=SDK_TIMEOUT_S)
            clients.enter_context(client)
            return client

        yield connect
