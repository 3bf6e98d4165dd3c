"""What is counted, under labels that nobody outside can make grow.

Covers: `chat`, `routes`.
"""

import uuid
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from masa_node.chat.request import Endpoint
from tests.api.raw_http import ask_once, chat, get, line_to, post
from tests.api.serving import ServingNode

Samples = dict[str, list[tuple[dict[str, str], float]]]
STRANGERS = 1_000


async def samples(node: ServingNode) -> Samples:
    """Everything that is counted now, by name."""
    reply = await ask_once(node.port, get(b"/metrics"))
    assert reply.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    """The one value with these labels, 0 if there is none."""
    values = [number for given, number in found.get(name, []) if labels.items() <= given.items()]
    return sum(values)


async def test_a_request_is_counted_with_its_ending(tmp_path: Path) -> None:
    with ServingNode(tmp_path, {}) as node:
        await ask_once(node.port, post(chat()))
        await ask_once(node.port, post(chat(stream=True), target=b"/api/chat"))
        await ask_once(node.port, post(chat("unheard-of")))
        await ask_once(node.port, post(b"{"))
        found = await samples(node)
    ours = {"endpoint": "openai.chat", "model": "masa-demo", "status": "200", "error": "none"}
    assert value(found, "masa_requests_total", **ours) == 1
    assert value(found, "masa_requests_total", **(ours | {"endpoint": "ollama.chat"})) == 1
    assert value(found, "masa_requests_total", model="other", status="404", error="model_not_found") == 1
    assert value(found, "masa_requests_total", model="other", status="400", error="bad_json") == 1
    assert value(found, "masa_requests_total") == 4
    assert value(found, "masa_attempts_total", provider="demo", result="won") == 2
    assert value(found, "masa_first_piece_seconds_count", endpoint="openai.chat") == 1
    assert value(found, "masa_request_seconds_count", endpoint="openai.chat") == 3
    assert value(found, "masa_pieces_total", endpoint="ollama.chat") > 10
    assert value(found, "masa_body_bytes_total", endpoint="ollama.chat") == len(chat(stream=True))
    assert value(found, "masa_answer_bytes_total", endpoint="ollama.chat") > 1000
    assert value(found, "masa_tokens_total", direction="output", model="masa-demo") > 10
    assert value(found, "masa_upstream_up", upstream="demo") == 1
    assert value(found, "masa_requests_in_flight") == value(found, "masa_requests_waiting") == 0
    assert value(found, "process_resident_memory_bytes") > 1_000_000


async def test_a_thousand_names_that_nobody_serves_are_one_label(node: ServingNode) -> None:
    before = labels_of(await samples(node))
    async with line_to(node.port) as line:
        for _ in range(STRANGERS):
            assert (await line.ask(post(chat(uuid.uuid4().hex)))).status == 404
    after = await samples(node)
    assert value(after, "masa_requests_total", model="other", status="404") >= STRANGERS
    assert len(labels_of(after) - before) <= 5
    assert {model for name, model in labels_of(after) if name == "model"} <= {"masa-demo", "other"}


async def test_no_path_method_or_header_becomes_a_label(node: ServingNode) -> None:
    await ask_once(node.port, post(chat()))
    before = labels_of(await samples(node))
    async with line_to(node.port) as line:
        for n in range(50):
            await line.ask(get(f"/nowhere-{n}?q={n}".encode(), f"X-Request-Id: id-{n}\r\nX-H-{n}: y\r\n".encode()))
            await line.ask(post(chat(), f"X-Request-Id: id-{n}\r\nAnthropic-Version: {n}\r\n".encode()))
    assert labels_of(await samples(node)) == before


def labels_of(found: Samples) -> set[tuple[str, str]]:
    """Every label with every value it has, of the metrics that are ours."""
    ours: Iterable[tuple[dict[str, str], float]] = [
        sample for name, listed in found.items() if name.startswith("masa_") for sample in listed
    ]
    pairs = {pair for labels, _ in ours for pair in labels.items() if pair[0] != "le"}
    assert {endpoint for name, endpoint in pairs if name == "endpoint"} <= {endpoint.value for endpoint in Endpoint}
    return pairs
