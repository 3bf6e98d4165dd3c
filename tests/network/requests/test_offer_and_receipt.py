"""Room for later: an offer with a request and a receipt with END. A peer that does not know them ignores them.

Covers: `frames`.
"""

import msgspec
import pytest

from masa_node.chat.errors import ProtocolFault
from masa_node.network.links.frames import FrameKind, FrameReader, frame, header_frame, read_header
from masa_node.network.requests.frames import (
    MAX_EXTRA_BYTES,
    AnswerEnd,
    AnswerHead,
    RequestHeader,
    request_frames,
)
from tests.network.requests.request_world import MODEL, Node, ask, take, world
from tests.network.requests.test_server import provider
from tests.network.said import SaidStream
from tests.routing.scripted import WHOLE
from tests.virtual_time import virtual_time

BODY = b'{"model":"tiny"}'
REQUEST = {
    "request_id": "r-1",
    "endpoint": "openai.chat",
    "model": MODEL,
    "wants_stream": False,
    "body_bytes": len(BODY),
    "first_piece_within_ms": 30_000,
}
FULL = b"x" * MAX_EXTRA_BYTES


async def _kinds(stream: SaidStream, *said: bytes) -> list[FrameKind]:
    """What comes back for this."""
    for data in said:
        await stream.write(data)
    reader, kinds = FrameReader(), []
    while data := await stream.read():
        kinds += [kind for kind, _ in reader.feed(data)]
    return kinds


@pytest.mark.parametrize(
    "extra",
    [{}, {"offer": b"1 token for it"}, {"offer": FULL}, {"offer_of_tomorrow": {"a": [1, FULL]}}],
    ids=["none", "an offer", "the largest", "unknown"],
)
@virtual_time
async def test_a_request_is_served_whatever_it_offers(extra: dict[str, object]) -> None:
    async with world(Node((provider(WHOLE),)).serve) as here:
        stream = await here.link.open()
        said = frame(FrameKind.REQUEST, msgspec.msgpack.encode(REQUEST | extra)), frame(FrameKind.BODY, BODY)
        assert await _kinds(stream, *said) == [FrameKind.HEAD, FrameKind.PIECE, FrameKind.END]
        await stream.finish()


@pytest.mark.parametrize(
    "extra",
    [{}, {"receipt": b"it did so"}, {"receipt": FULL}, {"receipt_of_tomorrow": [FULL]}],
    ids=["none", "a receipt", "the largest", "unknown"],
)
@virtual_time
async def test_an_answer_is_whole_whatever_receipt_comes_with_it(extra: dict[str, object]) -> None:
    async def serve(peer: str, stream: SaidStream) -> None:
        reader = FrameReader()
        while not any(kind is FrameKind.BODY for kind, _ in reader.feed(await stream.read())):
            pass
        await stream.write(header_frame(FrameKind.HEAD, AnswerHead(200, MODEL, "openai", is_stream=False)))
        await stream.write(frame(FrameKind.PIECE, WHOLE.body))
        end = {"frames": 1, "bytes": len(WHOLE.body)}
        await stream.write(frame(FrameKind.END, msgspec.msgpack.encode(end | extra)))
        await stream.finish()
        await stream.read()

    async with world(serve) as here:
        got = await take(here.peer, ask(BODY, wants_stream=False))
        assert (got.error, got.body) == (None, WHOLE.body)


def test_longer_ones_are_a_breach() -> None:
    with pytest.raises(ProtocolFault):
        read_header(msgspec.msgpack.encode(REQUEST | {"offer": FULL + b"x"}), RequestHeader)
    with pytest.raises(ProtocolFault):
        read_header(msgspec.msgpack.encode({"frames": 0, "bytes": 0, "receipt": FULL + b"x"}), AnswerEnd)


@virtual_time
async def test_a_node_that_offers_nothing_sends_no_byte_of_it() -> None:
    assert not any(b"offer" in payload for _, payload in request_frames(ask(BODY), 1.0, "r-1"))
    assert b"receipt" not in header_frame(FrameKind.END, AnswerEnd(1, 2))
