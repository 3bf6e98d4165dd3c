"""The recipe "a dialect": one file in `dialects/`, one row in `dialects/registry.py`.

What it is spoken at is an endpoint, which is a recipe of its own: here one of OpenAI's is taken over.
"""

import msgspec
import pytest

from masa_node.chat.answer import Usage
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint
from masa_node.dialects.choices import Choices
from masa_node.dialects.dialect import Dialect, ErrorText, Mark
from masa_node.dialects.framing import SSE, event_of
from masa_node.dialects.registry import DIALECTS
from tests.fakes.http_bytes import LAST_CHUNK, chunk, chunked, stream_head, whole
from tests.fakes.llm_server import FakeLlm, close, send
from tests.fakes.raw_http import Reply, post
from tests.fakes.running import running_node

ENDPOINT = "/v1/completions"
PIECES = (b'data: {"toy":"teddy "}\n\n', b'data: {"toy":"bear"}\n\n')
END = b"data: BYE\n\n"


class Toy:
    """A stream of toys that ends with a farewell."""

    name = DialectName("toy")
    framing = SSE
    needs_end = True
    needs_finish = False
    end_is_piece = False

    def plain_frames(self, frames: bytes) -> int:
        return 0

    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        _, data = event_of(frame)
        marks = {b'{"to': Mark.PIECE, b"BYE": Mark.END, b'{"br': Mark.ERROR, b"": Mark.NOISE}
        return marks.get(data.strip()[:4], Mark.ALIEN)

    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        return None if body.startswith(b'{"toy"') else "there is no toy in it"

    def error_message(self, body: bytes) -> str | None:
        return body.decode("utf-8", "replace")

    def error_body(self, error: ErrorText) -> bytes:
        return msgspec.json.encode({"broken": error.message})

    def error_frame(self, error: ErrorText) -> bytes:
        return b"data: " + self.error_body(error) + b"\n\n"


@pytest.fixture(autouse=True)
def with_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy: Dialect = Toy()
    monkeypatch.setitem(DIALECTS, toy.name, toy)
    monkeypatch.setitem(DIALECT_OF_ENDPOINT, Endpoint.OPENAI_COMPLETIONS, toy.name)


async def asked(answer: bytes, *, stream: bool) -> Reply:
    listing = send(whole(b'{"object":"list","data":[{"id":"m"}]}'))
    async with (
        FakeLlm().answer("/v1/models", (listing,)).answer(ENDPOINT, (send(answer), close)) as llm,
        running_node(LLM_CHAT_URL=llm.url) as node,
    ):
        return await post(node.port, ENDPOINT, msgspec.json.encode({"model": "m", "prompt": "a", "stream": stream}))


async def test_a_whole_stream_goes_through_byte_by_byte() -> None:
    reply = await asked(stream_head("text/event-stream") + chunked((*PIECES, END)), stream=True)
    assert (reply.status, reply.body) == (200, b"".join((*PIECES, END)))
    assert reply.is_whole


async def test_a_stream_without_its_end_ends_with_an_error_in_its_own_words() -> None:
    reply = await asked(stream_head("text/event-stream") + chunk(PIECES[0]) + LAST_CHUNK, stream=True)
    passed, _, error = reply.body.partition(PIECES[0])
    assert passed == b""
    assert error.startswith(b'data: {"broken":"')


async def test_a_whole_answer_is_judged_by_it() -> None:
    assert (await asked(whole(b'{"toy":"bear"}'), stream=False)).body == b'{"toy":"bear"}'
    reply = await asked(whole(b'{"object":"text_completion"}'), stream=False)
    assert reply.status == 502
    assert b"there is no toy in it" in reply.body
    assert reply.body.startswith(b'{"broken":"')
