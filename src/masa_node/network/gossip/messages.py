"""The four messages of gossip: msgpack arrays that begin with their number. Sans-IO.

An entry of a listing stands for one advert: the first 8 bytes of its node's id and its sequence (8 bytes, big-endian).
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from masa_node.chat.errors import ProtocolFault
from masa_node.network.gossip.adverts import MAX_ADVERT_BYTES, SIGNATURE_BYTES, Count

MAX_MESSAGE_BYTES = 40 * 1024  # one advert of the largest size, and room for what is around it
MAX_PUSHED = 64  # adverts in one message: checking so many signatures takes about 6 ms
MAX_BITS = 8  # 256 buckets: 39 adverts in each of them at 10 000 nodes
HASH_BYTES = 8
PREFIX_BYTES = 8  # of a node's id: of 10 000, two are alike in one network of 10^11
ENTRY_BYTES = PREFIX_BYTES + 8
MAX_LISTING_BYTES = 4 * 1024  # 256 entries: if one in ten is missing, their answer is 2 s of the budget
MAX_WANTED = 256

_Adverts = Annotated[
    tuple[Annotated[bytes, Meta(min_length=SIGNATURE_BYTES + 1, max_length=MAX_ADVERT_BYTES)], ...],
    Meta(min_length=1, max_length=MAX_PUSHED),
]
_Bits = Annotated[int, Meta(ge=0, le=MAX_BITS)]
_Bucket = tuple[
    Annotated[int, Meta(ge=0, lt=1 << MAX_BITS)],
    Annotated[bytes, Meta(max_length=MAX_LISTING_BYTES)],
]


class Push(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Adverts, as their nodes signed them. News are passed on; what was missed is not, when it is much."""

    adverts: _Adverts
    is_news: bool = True


class Digest(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What the sender knows: how many nodes, and one hash for each of 2**bits buckets of their ids, in order."""

    known: Count
    bits: _Bits
    hashes: Annotated[bytes, Meta(max_length=HASH_BYTES << MAX_BITS)]


class BucketListing(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """All that the sender knows in some of 2**bits buckets: the bucket's number and its entries, joined."""

    bits: _Bits
    buckets: Annotated[tuple[_Bucket, ...], Meta(min_length=1, max_length=1 << MAX_BITS)]


class Want(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Send me the adverts of the nodes whose ids begin so."""

    prefixes: Annotated[bytes, Meta(min_length=PREFIX_BYTES, max_length=PREFIX_BYTES * MAX_WANTED)]


GossipMessage = Push | Digest | BucketListing | Want

_decoder: msgspec.msgpack.Decoder[GossipMessage] = msgspec.msgpack.Decoder(GossipMessage)


def write_message(message: GossipMessage) -> bytes:
    """As it travels in a GOSSIP frame."""
    return msgspec.msgpack.encode(message)


def read_message(data: bytes) -> GossipMessage:
    """The message in these bytes. Raises `ProtocolFault`."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise ProtocolFault(f"it sent a gossip message of {len(data)} bytes; the limit is {MAX_MESSAGE_BYTES}.")
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolFault(f"it sent a malformed gossip message: {exc}.") from exc
    if not _is_whole(message):
        raise ProtocolFault("it sent a gossip message whose parts do not fit together.")
    return message


def prefixes_of(joined: bytes) -> list[bytes]:
    """The single prefixes of a `Want`."""
    return [joined[at : at + PREFIX_BYTES] for at in range(0, len(joined), PREFIX_BYTES)]


def sequences_of(joined: bytes) -> dict[bytes, int]:
    """The entries of a bucket: prefix -> sequence."""
    return {
        joined[at : at + PREFIX_BYTES]: int.from_bytes(joined[at + PREFIX_BYTES : at + ENTRY_BYTES], "big")
        for at in range(0, len(joined), ENTRY_BYTES)
    }


def _is_whole(message: GossipMessage) -> bool:
    match message:
        case Push():  # the most frequent first
            return True
        case Digest(bits=bits, hashes=hashes):
            return len(hashes) == HASH_BYTES << bits
        case BucketListing(bits, buckets):
            numbers = {number for number, _ in buckets}
            is_whole = all(len(joined) % ENTRY_BYTES == 0 for _, joined in buckets)
            return is_whole and len(numbers) == len(buckets) and max(numbers) < 1 << bits
        case Want(prefixes):
            return len(prefixes) % PREFIX_BYTES == 0
