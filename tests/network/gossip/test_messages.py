import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import ProtocolFault
from masa_node.network.gossip.messages import (
    ENTRY_BYTES,
    HASH_BYTES,
    MAX_BITS,
    MAX_LISTING_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PUSHED,
    MAX_WANTED,
    PREFIX_BYTES,
    BucketListing,
    Digest,
    GossipMessage,
    Push,
    Want,
    prefixes_of,
    read_message,
    sequences_of,
    write_message,
)
from masa_node.network.links.frames import MAX_PAYLOAD_BYTES

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "gossip" / "messages.json").read_text())

DIGESTS = st.integers(0, MAX_BITS).flatmap(
    lambda bits: st.builds(
        Digest,
        st.integers(0, 2**63 - 1),
        st.just(bits),
        st.binary(min_size=HASH_BYTES << bits, max_size=HASH_BYTES << bits),
    )
)
ENTRIES = st.integers(0, 5).flatmap(lambda count: st.binary(min_size=count * ENTRY_BYTES, max_size=count * ENTRY_BYTES))
LISTINGS = st.integers(0, MAX_BITS).flatmap(
    lambda bits: st.builds(
        BucketListing,
        st.just(bits),
        st.dictionaries(st.integers(0, (1 << bits) - 1), ENTRIES, min_size=1, max_size=5).map(
            lambda d: tuple(d.items())
        ),
    )
)
WANTS = st.integers(1, MAX_WANTED).flatmap(
    lambda count: st.builds(Want, st.binary(min_size=count * PREFIX_BYTES, max_size=count * PREFIX_BYTES))
)
PUSHES = st.builds(
    Push, st.lists(st.binary(min_size=65, max_size=200), min_size=1, max_size=5).map(tuple), st.booleans()
)
MESSAGES = st.one_of(DIGESTS, LISTINGS, WANTS, PUSHES)


def from_vector(vector: dict) -> GossipMessage:
    fields = vector["fields"]
    match vector["number"]:
        case 1:
            return Push(tuple(map(bytes.fromhex, fields["push"])), fields["is_news"])
        case 2:
            return Digest(fields["known"], fields["bits"], bytes.fromhex(fields["hashes"]))
        case 3:
            return BucketListing(
                fields["bits"], tuple((number, bytes.fromhex(tags)) for number, tags in fields["buckets"])
            )
        case _:
            return Want(bytes.fromhex(fields["prefixes"]))


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: vector["name"])
def test_messages_are_written_and_read_as_published(vector: dict) -> None:
    assert write_message(from_vector(vector)).hex() == vector["hex"]
    assert read_message(bytes.fromhex(vector["hex"])) == from_vector(vector)


@pytest.mark.parametrize("vector", VECTORS["read_only"], ids=lambda vector: vector["name"])
def test_messages_of_newer_nodes_are_read(vector: dict) -> None:
    assert read_message(bytes.fromhex(vector["hex"])) == from_vector(vector)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_malformed_messages_are_refused(vector: dict) -> None:
    with pytest.raises(ProtocolFault):
        read_message(bytes.fromhex(vector["hex"]))


@given(message=MESSAGES)
def test_every_message_is_read_as_it_was_written(message: GossipMessage) -> None:
    assert read_message(write_message(message)) == message


def cut_or_changed(data: bytes) -> st.SearchStrategy[bytes]:
    def change(at: int, byte: int) -> bytes:
        return data[:at] + bytes((byte,)) + data[at + 1 :]

    cut = st.integers(0, len(data) - 1).map(lambda at: data[:at])
    return st.one_of(cut, st.builds(change, st.integers(0, len(data) - 1), st.integers(0, 255)))


@given(data=st.one_of(st.binary(max_size=300), MESSAGES.map(write_message).flatmap(cut_or_changed)))
def test_any_bytes_are_a_message_or_a_fault(data: bytes) -> None:
    try:
        message = read_message(data)
    except ProtocolFault:
        return
    assert isinstance(message, GossipMessage)


def test_what_is_too_much_is_refused() -> None:
    for message in (
        [1, [bytes(65)] * (MAX_PUSHED + 1), True],
        [1, [bytes(32 * 1024 + 1)], True],
        [2, 0, MAX_BITS + 1, bytes(HASH_BYTES << MAX_BITS + 1)],
        [3, 0, [[0, bytes(MAX_LISTING_BYTES + ENTRY_BYTES)]]],
        [4, bytes(PREFIX_BYTES * (MAX_WANTED + 1))],
        [4, [[[]]] * 5000],
    ):
        with pytest.raises(ProtocolFault):
            read_message(msgspec.msgpack.encode(message))
    with pytest.raises(ProtocolFault, match=str(MAX_MESSAGE_BYTES)):
        read_message(write_message(Push((bytes(30_000), bytes(30_000)))))


def test_deeply_nested_bytes_are_refused() -> None:
    with pytest.raises(ProtocolFault):
        read_message(b"\x92\x01" + b"\x91" * 20_000)


def test_a_message_fits_into_a_frame() -> None:
    assert MAX_MESSAGE_BYTES <= MAX_PAYLOAD_BYTES


def test_the_parts_of_a_listing_and_of_a_wish() -> None:
    assert sequences_of(b"12345678" + (7).to_bytes(8, "big") + b"abcdefgh" + b"\xff" * 8) == {
        b"12345678": 7,
        b"abcdefgh": 2**64 - 1,
    }
    assert prefixes_of(b"12345678abcdefgh") == [b"12345678", b"abcdefgh"]
