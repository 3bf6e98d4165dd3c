import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import ProtocolFault
from masa_node.network.gossip.adverts import Advert
from masa_node.network.links.control import Beat, Hello, Refused
from masa_node.network.links.frames import (
    HEAD_BYTES,
    MAX_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    FrameKind,
    FrameReader,
    frame,
    header_frame,
    read_header,
)
from masa_node.network.requests.frames import AnswerEnd, AnswerHead, RequestFailure, RequestHeader
from tests.dialects.chunking import chunks_of

HEADERS = (Advert, RequestHeader, AnswerHead, AnswerEnd, RequestFailure, Hello, Refused, Beat)
Frames = list[tuple[FrameKind, bytes]]

RAW = (FrameKind.GOSSIP, FrameKind.BODY, FrameKind.PIECE, FrameKind.IGNORED)

frames = st.lists(st.tuples(st.sampled_from(FrameKind), st.binary(max_size=300)), max_size=8)


def joined(sent: Frames) -> bytes:
    return b"".join(frame(kind, payload) for kind, payload in sent)


def read(chunks: list[bytes]) -> tuple[Frames, str]:
    """The frames in these chunks, and the fault that ended them."""
    reader = FrameReader()
    found: Frames = []
    try:
        for chunk in chunks:
            for each in reader.feed(chunk):
                found.append(each)
    except ProtocolFault as fault:
        return found, fault.message
    return found, "cut" if reader._buffer else ""


def check_reading(payload: bytes, form: type[msgspec.Struct]) -> None:
    try:
        header: object = read_header(payload, form)
    except ProtocolFault as exc:
        header = exc.message
    match header:
        case str():
            assert header.isprintable()
            assert len(header) < 300
        case _:
            assert isinstance(header, form)


@given(st.data(), frames)
def test_any_chunking_gives_the_same_frames(data: st.DataObject, sent: Frames) -> None:
    assert read(data.draw(chunks_of(joined(sent)))) == (sent, "")


@given(st.data(), frames, st.binary(max_size=40))
def test_any_garbage_gives_frames_or_a_fault_however_it_is_chunked(
    data: st.DataObject, sent: Frames, garbage: bytes
) -> None:
    raw = joined(sent) + garbage
    found, fault = read([raw])
    assert found[: len(sent)] == sent
    assert read(data.draw(chunks_of(raw))) == (found, fault)


@given(st.data(), frames.filter(bool))
def test_a_cut_is_noticed_wherever_it_is(data: st.DataObject, sent: Frames) -> None:
    raw = joined(sent)
    at = data.draw(st.integers(0, len(raw)))
    found, fault = read([raw[:at]])
    assert found == sent[: len(found)]
    assert (fault == "") == (at == len(joined(found)))


@pytest.mark.parametrize("kind", FrameKind)
def test_a_frame_that_is_too_long_is_refused_by_its_head_alone(kind: FrameKind) -> None:
    limit = MAX_PAYLOAD_BYTES if kind in RAW else MAX_HEADER_BYTES
    longest = frame(kind, bytes(limit))
    assert read([longest]) == ([(kind, bytes(limit))], "")
    with pytest.raises(ValueError, match=kind.name):
        frame(kind, bytes(limit + 1))
    announced = bytes((0, 0, 0, 0, kind)) + (limit + 1).to_bytes(3, "big")
    assert str(limit) in read([announced])[1]


def test_a_drip_of_single_bytes_is_not_copied_again_and_again() -> None:
    reader = FrameReader()
    raw = frame(FrameKind.PIECE, bytes(MAX_PAYLOAD_BYTES))
    tracemalloc.start()
    for at in range(len(raw)):
        got = list(reader.feed(raw[at : at + 1]))
        assert bool(got) == (at == len(raw) - 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MAX_PAYLOAD_BYTES


def test_memory_stays_bounded_whatever_is_announced() -> None:
    reader = FrameReader()
    longest = frame(FrameKind.BODY, bytes(MAX_PAYLOAD_BYTES))[:-1]
    list(reader.feed(longest))
    assert len(reader._buffer) == HEAD_BYTES + MAX_PAYLOAD_BYTES - 1
    with pytest.raises(ProtocolFault):
        list(FrameReader().feed(b"\0\0\0\0\x11\xff\xff\xff" + bytes(64 * 1024)))


@pytest.mark.parametrize("form", HEADERS, ids=lambda form: form.__name__)
@given(payload=st.binary(max_size=200))
def test_any_bytes_give_a_header_or_a_fault(form: type[msgspec.Struct], payload: bytes) -> None:
    check_reading(payload, form)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("form", HEADERS, ids=lambda form: form.__name__)
@given(data=st.data())
def test_any_fields_give_a_header_or_a_fault(form: type[msgspec.Struct], data: st.DataObject) -> None:
    fields = data.draw(st.dictionaries(st.sampled_from(form.__struct_fields__) | st.text(max_size=4), values))
    check_reading(msgspec.msgpack.encode(fields), form)


@pytest.mark.parametrize("nested", [b"\x91" * 30_000 + b"\xc0", b"\x81\xa1x" * 10_000 + b"\xc0"])
def test_a_header_nested_without_end_is_a_fault(nested: bytes) -> None:
    with pytest.raises(ProtocolFault):
        read_header(b"\x82\xa4code\xa1x\xa1y" + nested, RequestFailure)


def test_a_header_may_have_fields_that_are_not_known() -> None:
    payload = msgspec.msgpack.encode({"number": 1, "of_tomorrow": {"a": [1, 2]}})
    assert read_header(payload, Beat) == Beat(1)


def test_a_header_longer_than_a_peer_takes_is_never_sent() -> None:
    with pytest.raises(ValueError, match="HELLO"):
        header_frame(FrameKind.HELLO, Hello(vouchers=(b"x" * MAX_HEADER_BYTES,)))
