"""The end of a long part of an answer is a lot of work in one go, in some formats: it holds nobody up.

Covers: `translating`.
"""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from masa_node.chat.answer import StreamedAnswer
from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.translator import MUCH_BYTES
from tests.dialects.translation import sdk_models
from tests.routing.scripted import MODEL, World, offer
from tests.routing.test_translating import DONE, Streaming, all_of
from tests.virtual_time import virtual_time

WORDS = "x" * 2_000
BODY = msgspec.json.encode({"model": MODEL, "stream": True, "input": "hi"})


def chunk(finish: str | None = None, **delta: object) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


@pytest.mark.parametrize(("pieces", "ends"), [(2, 0), (MUCH_BYTES // len(WORDS) + 1, 3)])
@virtual_time
async def test_an_end_behind_much_is_made_in_a_thread_and_no_piece_is(
    monkeypatch: pytest.MonkeyPatch, pieces: int, ends: int
) -> None:
    """The end of the thought, that of the words, and that of the whole."""
    in_threads: list[object] = []

    async def to_thread(work: Callable[[], object]) -> object:
        in_threads.append(work)
        return work()

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    thoughts = [chunk(reasoning_content=WORDS)] * pieces
    words = [chunk(content=WORDS)] * pieces
    world = World()
    world.catalog.put(Streaming("a", [*thoughts, *words, chunk("stop"), DONE]), [offer()])
    request = world.ask(endpoint=Endpoint.OPENAI_RESPONSES)
    async with world.begun(msgspec.structs.replace(request, body=BODY, wants_stream=True)) as answer:
        assert isinstance(answer, StreamedAnswer)
        response = sdk_models.response_of(await all_of(answer))
    assert response.output_text == WORDS * pieces
    assert len(in_threads) == ends
