import asyncio
import gc
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from masa_node.accounts import ledger
from masa_node.accounts.journal import RaceQuery
from masa_node.accounts.ledger import read_usage
from masa_node.accounts.report import By, UsageQuery
from masa_node.chat.outcome import Outcome
from masa_node.node import node as node_module
from masa_node.node.node import MAX_UNTOLD, Node
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.embedded import model as embedded_model
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from tests.fakes.dialect_samples import OPENAI
from tests.fakes.llm_server import send, until
from tests.fakes.outcomes import REFUSED, by_peer, outcome
from tests.fakes.running import node_before, running_node, settings_of

MAX_GROWTH_BYTES = 1_000_000  # what stays of 100 races and 256 events, made anew; of 25 000 it would be 20 MB


async def test_its_settings_reach_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_model, "runtime_is_installed", lambda: True)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    async with HttpClient() as http:
        node = Node(Settings(masa_dir="/nowhere", llm_context=512, llm_threads=3), http)
        node.add_spec(UpstreamSpec("embedded", UpstreamKind.EMBEDDED, str(path)))
        (llm,) = node.embedded
        assert [offer.model for _, offer in node.catalog.all_offers()] == ["tiny"]  # and not any name, while it loads
        assert node.catalog.unlisted == ()
    options = llm.options("k")
    assert (options.path, options.model_id, options.key) == (str(path), "tiny", "k")
    assert (options.context_tokens, options.threads) == (512, 3)


def ended(number: int) -> Outcome:
    """Of a crowd that names something else each time: models, keys, peers."""
    match number % 5:
        case 0:
            return outcome(model=f"m{number}", key=f"key{number % 50}")
        case 1:
            return outcome(requester=f"{number:064x}", key="")
        case 2:
            return by_peer(f"{number:064x}", model=f"m{number}")
        case 3:
            return outcome(error="http_500", status=500, served_by=None, model="x" * 1_000, model_known=False)
        case _:
            return REFUSED


@pytest.mark.untraced
async def test_a_node_holds_no_more_however_many_requests_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MAX_ACCOUNTS", 100)
    monkeypatch.setattr(node_module, "log_outcome", lambda _: None)
    async with HttpClient() as http:
        node = Node(settings_of(MASA_DIR=str(tmp_path), USAGE="count", JOURNAL="100"), http)
        looking_on = node.access.events.subscribe(None)
        for number in range(5_000):
            node.observe(ended(number))
        tracemalloc.start()
        try:
            for number in range(5_000, 30_000):
                node.observe(ended(number))
            looking_on.take()
            gc.collect()
            grown_bytes = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert grown_bytes < MAX_GROWTH_BYTES


@pytest.mark.parametrize("error", [None, "broken"])
@pytest.mark.parametrize("many", [1, 2, MAX_UNTOLD - 1, MAX_UNTOLD, MAX_UNTOLD + 1])
async def test_what_ended_well_is_told_in_a_moment_an_error_at_the_end_of_the_turn_and_a_crowd_at_once(
    tmp_path: Path, many: int, error: str | None
) -> None:
    async with HttpClient() as http:
        node = Node(settings_of(MASA_DIR=str(tmp_path), JOURNAL="100"), http)

        def told() -> tuple[int, int]:
            counted = sum(line.startswith(b"masa_requests_total{") for line in node.metrics.render().splitlines())
            return counted, len(node.journal.races(RaceQuery(limit=100)))

        for number in range(many):
            node.observe(outcome(status=number, error=error if number == many - 1 else None))
        at_once = MAX_UNTOLD if many >= MAX_UNTOLD else 0
        assert told() == (at_once, at_once)
        await asyncio.sleep(0)
        assert told() == ((many, many) if error else (at_once, at_once))
        await until(lambda: told() == (many, many))


@pytest.mark.parametrize("broken", ["metrics", "log", "journal", "ledger"])
async def test_a_bug_in_one_observer_keeps_no_request_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    told: dict[str, list[int]] = {name: [] for name in ("metrics", "log", "journal", "ledger")}

    def note(name: str) -> Callable[[Outcome], tuple[int, float, Outcome]]:
        def observe(outcome: Outcome) -> tuple[int, float, Outcome]:
            if name == broken and outcome.status == 1:
                raise RuntimeError(name)
            told[name].append(outcome.status)
            return outcome.status, 0.0, outcome

        return observe

    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(str(context["exception"])))
    async with HttpClient() as http:
        node = Node(settings_of(MASA_DIR=str(tmp_path), USAGE="count"), http)
        assert node.ledger is not None
        monkeypatch.setattr(node.metrics, "observe", note("metrics"))
        monkeypatch.setattr(node_module, "log_outcome", note("log"))
        monkeypatch.setattr(node.journal, "observe", note("journal"))
        monkeypatch.setattr(node.ledger, "observe", note("ledger"))
        for status in range(3):
            node.observe(outcome(status=status))
        node.tell()
    assert told == {name: [0, 2] if name == broken else [0, 1, 2] for name in told}
    assert bugs == [broken]


async def test_what_ends_in_the_node_s_last_turn_is_counted(tmp_path: Path) -> None:
    async with running_node(MASA_DIR=str(tmp_path), USAGE="count") as node:
        for _ in range(MAX_UNTOLD + 1):
            node.node.observe(outcome())
    (line,) = read_usage(tmp_path, UsageQuery((By.KEY,), since_day=0))
    assert line.requests == MAX_UNTOLD + 1


@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_is_asked_next_on_a_connection_counts_what_was_answered_before_it(
    tmp_path: Path, *, is_stream: bool
) -> None:
    steps = send(OPENAI.stream if is_stream else OPENAI.whole)
    async with node_before(OPENAI, steps, MASA_DIR=str(tmp_path), USAGE="count") as (_, node):
        body = OPENAI.ask(stream=is_stream)
        asked = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (
            OPENAI.endpoint.encode(), len(body), body,
        )  # fmt: skip
        for number, path in enumerate((b"/metrics", b"/api/v1/races", b"/api/v1/usage"), 1):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(asked + b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path)
            answers = await reader.read()
            writer.close()
            assert number in counted(answers), path


def counted(answers: bytes) -> list[int]:
    """How many requests this says there were, in any of these views."""
    found = [int(float(value)) for value in re.findall(rb"\nmasa_requests_total\{[^\n]*\} ([0-9.]+)", answers)]
    found += [int(value) for value in re.findall(rb'"requests":([0-9]+)', answers)]
    return [*found, len(re.findall(rb'"request_id"', answers))]
