"""What a node says of itself, signed with its key: its models, load, addresses. Pure.

An advert holds for its sender only, has a sequence number that only grows, and expires. A node that passes it on cannot
change it.
"""

import functools
from sys import intern
from typing import Annotated

import msgspec
from msgspec import Meta

from masa_node.chat.errors import ProtocolFault
from masa_node.network.transport.interfaces import MAX_ADDRESSES, MAX_CLOCK_SKEW_S, Keys, NodeId, is_node_id

MAX_ADVERT_BYTES = 32 * 1024  # about 200 models with all their fields
MAX_ADVERT_MODELS = 256  # of one node: the largest model lists of Ollama servers seen hold a few dozen
MAX_MODEL_CHARS = 256
ADVERT_LIFETIME_S = 30 * 60  # renewed at half of it; a node that vanished is forgotten after this
NODES_OF_A_LIFETIME = 700  # where more are known, adverts hold longer in proportion, or renewals would fill lines
MAX_LIFETIME_S = 8 * 60 * 60  # an advert that claims more is refused
_DOMAIN = b"masa advert 1\n"  # what is signed here can never be taken for something else signed by this key
SIGNATURE_BYTES = 64
KEPT_LISTS = 2_048  # of models, as they were read last: peers offer the same ones, and renewals say them again;
MAX_KEPT_BYTES = 1024  # each of so many at most, some six models

ModelName = Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)]
ShortText = Annotated[str, Meta(max_length=64)]
MAX_COUNT = (1 << 63) - 1
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]  # what every language holds in 64 bits


class AdvertModel(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One model that the node shares; `endpoints` are names of `chat.request.Endpoint`, unknown ones are to be ignored.

    What is behind `endpoints` is for people to read, and for clients that look for capabilities.
    """

    id: ModelName
    endpoints: Annotated[tuple[ShortText, ...], Meta(max_length=32)]
    context_tokens: Count | None = None
    capabilities: Annotated[tuple[ShortText, ...], Meta(max_length=16)] = ()
    created_at_unix_s: Count | None = None
    family: ShortText = ""
    parameter_size: ShortText = ""
    quantization: ShortText = ""
    size_bytes: Count = 0
    format: ShortText = ""


_Models = Annotated[tuple[AdvertModel, ...], Meta(max_length=MAX_ADVERT_MODELS)]


class Advert(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Times are Unix seconds. `running` of `slots` are taken by peers' requests now. `delegation` is the proof of
    stake.
    """

    node_id: Annotated[NodeId, Meta(min_length=64, max_length=64)]
    sequence: Count
    issued_at_unix_s: Count
    expires_at_unix_s: Count
    version: ShortText = ""
    name: ShortText = ""
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=MAX_ADDRESSES)] = ()
    relay_url: Annotated[str, Meta(max_length=256)] | None = None
    models: _Models = ()
    running: Count = 0
    slots: Count = 0
    delegation: Annotated[bytes, Meta(max_length=1024)] | None = None


class _Received(Advert, frozen=True, gc=False):
    """One whose models are not read yet."""

    models: msgspec.Raw = msgspec.Raw(msgspec.msgpack.encode(()))  # type: ignore[assignment]


class SignedAdvert(msgspec.Struct, frozen=True, gc=False):
    """An advert as it travels: `signed` are the bytes that were signed and the signature behind them."""

    advert: Advert
    signed: bytes

    @property
    def node_id(self) -> NodeId:
        """The node that issued it."""
        return self.advert.node_id


def sign_advert(advert: Advert, keys: Keys) -> SignedAdvert:
    """Sign one's own. Raises `ValueError` when it is larger than MAX_ADVERT_BYTES: name fewer models."""
    payload = msgspec.msgpack.encode(advert)
    if len(payload) + SIGNATURE_BYTES > MAX_ADVERT_BYTES:
        raise ValueError(f"an advert of {len(payload)} bytes")
    return SignedAdvert(advert, payload + keys.sign(_DOMAIN + payload))


def open_advert(signed: bytes, keys: Keys, at_unix_s: float) -> SignedAdvert:
    """Check a received one, cheapest first: size, form, times, signature. Raises `ProtocolFault`."""
    opened = read_advert(signed)
    if is_from_future(opened.advert, at_unix_s):
        raise ProtocolFault("it sent an advert from the future. Are both clocks right?")
    check_signature(opened, keys)
    return opened


def read_advert(signed: bytes) -> SignedAdvert:
    """Check what needs neither keys nor a clock: size, form, lifetime. Raises `ProtocolFault`.

    Anybody can have written what it returns: see `check_signature`.
    """
    if not SIGNATURE_BYTES < len(signed) <= MAX_ADVERT_BYTES:
        raise ProtocolFault(f"it sent an advert of {len(signed)} bytes.")
    try:
        advert = _read(memoryview(signed)[:-SIGNATURE_BYTES])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolFault(f"it sent a malformed advert: {exc}.") from exc
    if not is_node_id(advert.node_id):
        raise ProtocolFault("it sent an advert of something that is not a node.")
    if not advert.issued_at_unix_s <= advert.expires_at_unix_s <= advert.issued_at_unix_s + MAX_LIFETIME_S:
        raise ProtocolFault("it sent an advert that is valid for too long.")
    return SignedAdvert(advert, signed)


def _read(payload: memoryview) -> Advert:
    """What many adverts have in common, and many tables hold, is one object in all of them."""
    received = _decoder.decode(payload)
    raw = bytes(received.models)
    return Advert(
        NodeId(intern(received.node_id)),
        received.sequence,
        received.issued_at_unix_s,
        received.expires_at_unix_s,
        intern(received.version),
        received.name,
        received.addresses,
        received.relay_url,
        _kept_models(raw) if len(raw) <= MAX_KEPT_BYTES else _models_decoder.decode(raw),
        received.running,
        received.slots,
        received.delegation,
    )


_decoder = msgspec.msgpack.Decoder(_Received)
_models_decoder: msgspec.msgpack.Decoder[tuple[AdvertModel, ...]] = msgspec.msgpack.Decoder(_Models)
_kept_models = functools.lru_cache(KEPT_LISTS)(_models_decoder.decode)


def check_signature(opened: SignedAdvert, keys: Keys) -> None:
    """Did its node sign it? Raises `ProtocolFault`."""
    payload, signature = opened.signed[:-SIGNATURE_BYTES], opened.signed[-SIGNATURE_BYTES:]
    if not keys.verify(opened.advert.node_id, _DOMAIN + payload, signature):
        raise ProtocolFault("it sent an advert with a wrong signature.")


def lifetime_s(known: int) -> int:
    """How long a new advert holds, in a network of which so many nodes are known."""
    return min(MAX_LIFETIME_S, ADVERT_LIFETIME_S * max(known, NODES_OF_A_LIFETIME) // NODES_OF_A_LIFETIME)


def is_from_future(advert: Advert, at_unix_s: float) -> bool:
    """Was it issued later than now? Clocks may differ by MAX_CLOCK_SKEW_S."""
    return advert.issued_at_unix_s > at_unix_s + MAX_CLOCK_SKEW_S


def says_the_same(one: Advert, other: Advert) -> bool:
    """Do they differ in nothing but load, sequence and times?"""
    return (
        one.models == other.models
        and one.addresses == other.addresses
        and one.relay_url == other.relay_url
        and one.slots == other.slots
        and (one.version, one.name, one.delegation) == (other.version, other.name, other.delegation)
    )


def is_in_force(advert: Advert, at_unix_s: float) -> bool:
    """Has it not expired yet? Clocks may differ by MAX_CLOCK_SKEW_S."""
    return at_unix_s < advert.expires_at_unix_s + MAX_CLOCK_SKEW_S
