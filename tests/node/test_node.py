import asyncio
import gc
import tracemalloc
from pathlib import Path

import pytest

from masa_node.accounts import ledger
from masa_node.accounts.journal import RaceQuery
from masa_node.chat.outcome import Outcome
from masa_node.node import node as node_module
from masa_node.node.node import MAX_UNTOLD, Node
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.embedded import model as embedded_model
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from tests.fakes.outcomes import REFUSED, by_peer, outcome
from tests.fakes.running import settings_of

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


@pytest.mark.parametrize("many", [1, 2, MAX_UNTOLD - 1, MAX_UNTOLD, MAX_UNTOLD + 1])
async def test_all_that_end_in_a_turn_are_told_at_its_end_and_a_crowd_at_once(tmp_path: Path, many: int) -> None:
    async with HttpClient() as http:
        node = Node(settings_of(MASA_DIR=str(tmp_path), JOURNAL="100"), http)

        def told() -> tuple[int, int]:
            counted = sum(line.startswith(b"masa_requests_total{") for line in node.metrics.render().splitlines())
            return counted, len(node.journal.races(RaceQuery(limit=100)))

        for number in range(many):
            node.observe(outcome(status=number))
        at_once = MAX_UNTOLD if many >= MAX_UNTOLD else 0
        assert told() == (at_once, at_once)
        await asyncio.sleep(0)
        assert told() == (many, many)
