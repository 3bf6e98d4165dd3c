"""Answers that come compressed although nobody asked for that: read as they were meant, and bounded."""

import asyncio
import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import BrokenAnswer, EncodedAnswer, NotAnAnswer
from masa_node.upstreams.http import inflating
from masa_node.upstreams.http.inflating import Inflater, codings_in, inflater_for
from tests.fakes.dialect_samples import OLLAMA, OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import LAST_CHUNK, chunk, chunked, stream_head, whole
from tests.fakes.llm_server import Step, send, send_each, wait_for
from tests.fakes.raw_http import calling, get, post, request
from tests.fakes.running import node_before

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED = [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)]
CODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def in_pieces(data: list[bytes], bits: int) -> list[bytes]:
    """Each of these packed so that it can be read as soon as it has come, as servers flush a stream."""
    packer = zlib.compressobj(wbits=bits)
    pieces = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in data]
    return [*pieces[:-1], pieces[-1] + packer.flush()]


def unpack(inflater: Inflater, pieces: list[bytes]) -> bytes:
    out = b""
    for piece in pieces:
        inflater.feed(piece)
        while more := inflater.take():
            out += more
    inflater.finish()
    return out


# ---- the way of an answer ----


@every_dialect
@pytest.mark.parametrize(("coding", "pack"), PACKED)
async def test_a_compressed_whole_answer_is_read(speech: DialectSample, coding: str, pack: object) -> None:
    packed = pack(speech.answer)  # type: ignore[operator]
    given = whole(packed, headers=[("Content-Encoding", coding)])
    async with node_before(speech, send(given)) as (_, node):
        reply = await post(node.port, speech.endpoint, speech.ask(stream=False))
    assert (reply.status, reply.body, reply.header("content-encoding")) == (200, speech.answer, None)
    assert reply.header("content-length") == str(len(speech.answer))


@every_dialect
@pytest.mark.parametrize("coding", CODINGS)
async def test_a_compressed_stream_is_read_piece_by_piece(speech: DialectSample, coding: str) -> None:
    pieces = [chunk(piece) for piece in in_pieces(list(speech.frames), CODINGS[coding])]
    head = stream_head(speech.content_type, headers=[("Content-Encoding", coding)])
    async with node_before(speech, send(head), send_each([*pieces, LAST_CHUNK])) as (_, node):
        reply = await post(node.port, speech.endpoint, speech.ask())
    assert (reply.status, reply.body, reply.is_whole) == (200, b"".join(speech.frames), True)
    assert reply.header("content-encoding") is None


@every_dialect
async def test_each_piece_of_a_compressed_stream_is_given_out_before_the_next_has_come(speech: DialectSample) -> None:
    made = [asyncio.Event() for _ in speech.frames]
    steps: list[Step] = [send(stream_head(speech.content_type, headers=[("Content-Encoding", "gzip")]))]
    for event, piece in zip(made, in_pieces(list(speech.frames), CODINGS["gzip"]), strict=True):
        steps += [wait_for(event), send(chunk(piece))]
    async with (
        node_before(speech, *steps, send(LAST_CHUNK)) as (_, node),
        calling(node.port, request(speech.endpoint, speech.ask())) as call,
    ):
        made[0].set()
        await call.read_head()
        assert await call.read_chunk() == speech.frames[0]
        for event, frame in zip(made[1:], speech.frames[1:], strict=True):
            event.set()
            assert await call.read_chunk() == frame


@every_dialect
async def test_a_compressed_stream_that_is_cut_is_a_cut_answer(speech: DialectSample) -> None:
    packed = b"".join(in_pieces(list(speech.frames), CODINGS["gzip"]))
    given = stream_head(speech.content_type, headers=[("Content-Encoding", "gzip")]) + chunked([packed[:-40]])
    async with node_before(speech, send(given)) as (_, node):
        reply = await post(node.port, speech.endpoint, speech.ask())
    assert reply.status >= 500 or not reply.is_whole


@every_dialect
@pytest.mark.parametrize(("coding", "pack"), PACKED)
async def test_a_compressed_error_passes_unpacked(speech: DialectSample, coding: str, pack: object) -> None:
    packed = pack(speech.error_answer)  # type: ignore[operator]
    given = whole(packed, status=429, headers=[("Content-Encoding", coding)])
    async with node_before(speech, send(given)) as (_, node):
        reply = await post(node.port, speech.endpoint, speech.ask())
    assert (reply.status, reply.body, reply.header("content-encoding")) == (429, speech.error_answer, None)


@every_dialect
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "compress"])
@pytest.mark.parametrize("status", [200, 429])
async def test_a_coding_that_cannot_be_read_is_named_and_the_status_is_kept(
    speech: DialectSample, coding: str, status: int
) -> None:
    given = whole(b"\x0b\x02\x80{}\x03", status=status, headers=[("Content-Encoding", coding), ("Retry-After", "7")])
    async with node_before(speech, send(given)) as (_, node):
        reply = await post(node.port, speech.endpoint, speech.ask(stream=False))
    assert reply.status == (502 if status == 200 else status)
    assert f"Content-Encoding: {coding}" in speech.message_in(reply.body)
    assert reply.header("retry-after") == ("7" if status == 429 else None)


@every_dialect
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity", ""])
async def test_a_plain_answer_that_is_called_compressed_is_taken(speech: DialectSample, coding: str) -> None:
    given = whole(speech.answer, headers=[("Content-Encoding", coding)])
    async with node_before(speech, send(given)) as (_, node):
        reply = await post(node.port, speech.endpoint, speech.ask(stream=False))
    assert (reply.status, reply.body) == (200, speech.answer)


async def test_a_compressed_answer_that_is_not_called_so_is_taken() -> None:
    async with node_before(OPENAI, send(whole(gzip.compress(OPENAI.answer)))) as (_, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))
    assert (reply.status, reply.body) == (200, OPENAI.answer)


@pytest.mark.parametrize("speech", [OPENAI, OLLAMA], ids=str)
async def test_a_compressed_list_of_models_is_read(speech: DialectSample) -> None:
    body = gzip.compress(b'["a","b"]')
    listing = (send(whole(body, headers=[("Content-Encoding", "gzip")])),)
    async with node_before(speech, listings=(listing,)) as (_, node):
        reply = await get(node.port, "/v1/models")
    assert [entry["id"] for entry in json.loads(reply.body)["data"]] == ["a", "b"]


async def test_a_bomb_is_no_answer() -> None:
    bomb = gzip.compress(b'{"choices":"' + bytes(32 * 1024 * 1024))
    async with node_before(OPENAI, send(whole(bomb, headers=[("Content-Encoding", "gzip")]))) as (_, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))
    assert reply.status == 502
    assert "swells" in OPENAI.message_in(reply.body)


# ---- the unpacking itself ----


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
def test_any_cut_of_any_body_is_unpacked(parts: list[bytes], size: int) -> None:
    data = b"{" + b"".join(parts)  # a bare deflate stream has no mark: only of text it can be told from text
    for coding, pack in PACKED:
        packed = pack(data)
        inflater = inflater_for([coding], packed[:2])
        assert inflater is not None
        assert unpack(inflater, [packed[at : at + size] for at in range(0, len(packed), size)]) == data


def test_a_slice_is_never_larger_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflating, "SLICE_BYTES", 100)
    data = bytes(range(256)) * 40
    inflater = Inflater(CODINGS["gzip"])
    inflater.feed(gzip.compress(data))
    sizes = []
    while piece := inflater.take():
        sizes.append(len(piece))
    assert (max(sizes), sum(sizes)) == (100, len(data))
    inflater.finish()


def test_a_body_of_several_members_and_padding_is_unpacked() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two") + bytes(64)
    for size in (1, 7, 1000):
        inflater = Inflater(CODINGS["gzip"])
        assert unpack(inflater, [packed[at : at + size] for at in range(0, len(packed), size)]) == b"one two"


def test_what_swells_too_much_is_refused_before_it_is_held() -> None:
    inflater = Inflater(CODINGS["gzip"])
    inflater.feed(gzip.compress(bytes(64 * 1024 * 1024)))
    slices = iter(inflater.take, b"")
    with pytest.raises(NotAnAnswer, match="swells"):
        list(slices)
    assert inflater.given_bytes <= inflating.RATIO_COUNTS_FROM_BYTES + inflating.SLICE_BYTES


def test_the_whole_is_bounded_at_any_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflating, "MAX_INFLATED_BYTES", 1000)
    inflater = Inflater(CODINGS["deflate"])
    with pytest.raises(NotAnAnswer, match="swells"):
        unpack(inflater, [zlib.compress(bytes(range(256)) * 4)])


def test_what_is_cut_is_broken() -> None:
    with pytest.raises(BrokenAnswer, match="too soon"):
        unpack(Inflater(CODINGS["gzip"]), [gzip.compress(b"abc" * 100)[:-1]])


def test_nothing_at_all_is_an_empty_body() -> None:
    assert inflater_for(["gzip"], b"") is None
    assert unpack(Inflater(CODINGS["gzip"]), []) == b""


def test_codings_are_read_leniently() -> None:
    assert codings_in((("content-encoding", "GZIP , identity"), ("content-encoding", ""), ("a", "b"))) == ["gzip"]
    with pytest.raises(EncodedAnswer, match="zstd"):
        inflater_for(["zstd"], b"(\xb5/\xfd")
