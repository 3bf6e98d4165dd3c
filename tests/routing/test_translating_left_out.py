"""What the caller's format has no room for in an answer is named in its head, as far as it is known by then."""

import msgspec
import pytest

from masa_node.chat.answer import WholeAnswer
from masa_node.chat.request import DialectName, Endpoint, Request
from tests.routing.scripted import MODEL, ScriptedProvider, World, offer
from tests.routing.test_translating import DONE, TEXT, Streaming
from tests.virtual_time import virtual_time

HIDDEN = [{"type": "reasoning.encrypted", "data": "x"}]
MESSAGE = {"content": "Hi", "reasoning_details": HIDDEN}
WHOLE = {"id": "c", "model": MODEL, "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]}
SEALED = b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": {"reasoning_details": HIDDEN}}]}) + b"\n\n"


def ollama(world: World, *, stream: bool) -> Request:
    """What a client of Ollama asks, with a field that only its server has."""
    messages = [{"role": "user", "content": "hi"}]
    body = msgspec.json.encode({"model": MODEL, "messages": messages, "stream": stream, "keep_alive": 0})
    request = world.ask(endpoint=Endpoint.OLLAMA_CHAT)
    return msgspec.structs.replace(request, body=body, wants_stream=stream)


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("gives_stream", [True, False])
@virtual_time
async def test_it_is_named_beside_what_was_left_out_of_the_request(*, gives_stream: bool, wants_stream: bool) -> None:
    answer = WholeAnswer(200, (), msgspec.json.encode(WHOLE), DialectName.OPENAI)
    provider = Streaming("a", [SEALED, TEXT, DONE]) if gives_stream else ScriptedProvider("a", answer)
    world = World()
    world.catalog.put(provider, [offer()])
    async with world.begun(ollama(world, stream=wants_stream)) as got:
        assert dict(got.headers)["x-masa-dropped"] == "keep_alive, thinking.signature"


@virtual_time
async def test_an_answer_in_which_nothing_is_left_out_says_nothing() -> None:
    world = World()
    world.catalog.put(Streaming("a", [TEXT, DONE]), [offer()])
    async with world.begun(ollama(world, stream=True)) as got:
        assert dict(got.headers)["x-masa-dropped"] == "keep_alive"
