import json
from pathlib import Path

import iroh
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import ProtocolFault
from masa_node.network.gossip.adverts import (
    ADVERT_LIFETIME_S,
    MAX_ADVERT_BYTES,
    MAX_ADVERT_MODELS,
    MAX_LIFETIME_S,
    MAX_MODEL_CHARS,
    SIGNATURE_BYTES,
    Advert,
    AdvertModel,
    is_from_future,
    is_in_force,
    open_advert,
    read_advert,
    says_the_same,
    sign_advert,
)
from masa_node.network.transport.interfaces import MAX_ADDRESSES, MAX_CLOCK_SKEW_S, NodeId
from masa_node.network.transport.memory import MemoryNetwork

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "gossip" / "adverts.json").read_text())
NETWORK = MemoryNetwork()
ADA, BOB = NETWORK.keys(1), NETWORK.keys(2)
NOW_UNIX_S = 1_800_000_000


class Ed25519Keys:
    """The keys of the vectors."""

    def __init__(self, secret: bytes) -> None:
        self._secret = iroh.SecretKey.from_bytes(secret)
        self.node_id = NodeId(self._secret.public().to_bytes().hex())

    def sign(self, message: bytes) -> bytes:
        return self._secret.sign(message).to_bytes()

    def verify(self, node_id: NodeId, message: bytes, signature: bytes) -> bool:
        return node_id == self.node_id and self.sign(message) == signature  # ed25519 signs deterministically


def an_advert(**fields: object) -> Advert:
    about = {
        "node_id": ADA.node_id,
        "sequence": 1,
        "issued_at_unix_s": NOW_UNIX_S,
        "expires_at_unix_s": NOW_UNIX_S + ADVERT_LIFETIME_S,
        "models": (AdvertModel("m", ("openai_chat",)),),
    }
    return Advert(**about | fields)


def signed(**fields: object) -> bytes:
    """By ADA, even what she would not sign."""
    payload = msgspec.msgpack.encode(msgspec.to_builtins(an_advert()) | fields)
    return payload + ADA.sign(b"masa advert 1\n" + payload)


@pytest.mark.parametrize("vector", VECTORS["adverts"], ids=lambda vector: vector["name"])
def test_adverts_are_signed_and_opened_as_published(vector: dict) -> None:
    keys = Ed25519Keys(bytes.fromhex(VECTORS["secret_key"]))
    advert = msgspec.convert(vector["advert"], Advert)
    made = sign_advert(advert, keys)
    assert made.signed.hex() == vector["payload"] + vector["signature"]
    opened = open_advert(made.signed, keys, NOW_UNIX_S)
    assert opened == made
    assert opened.node_id == keys.node_id


def test_who_passes_an_advert_on_cannot_change_it() -> None:
    good = sign_advert(an_advert(), ADA).signed
    assert open_advert(good, BOB, NOW_UNIX_S).advert == an_advert()
    for at in range(len(good)):
        with pytest.raises(ProtocolFault):
            open_advert(good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :], BOB, NOW_UNIX_S)


def test_nobody_speaks_for_another_node() -> None:
    with pytest.raises(ProtocolFault, match="signature"):
        open_advert(sign_advert(an_advert(), BOB).signed, ADA, NOW_UNIX_S)


def test_a_signature_of_something_else_is_none_of_an_advert() -> None:
    payload = msgspec.msgpack.encode(an_advert())
    with pytest.raises(ProtocolFault, match="signature"):
        open_advert(payload + ADA.sign(payload), BOB, NOW_UNIX_S)


@pytest.mark.parametrize(
    "fields",
    [
        {"sequence": -1},
        {"sequence": 1 << 63},
        {"sequence": 1 << 64 - 1},
        {"sequence": 1.5},
        {"node_id": "A" * 64},
        {"node_id": "0" * 63},
        {"issued_at_unix_s": -1},
        {"expires_at_unix_s": NOW_UNIX_S - 1},
        {"expires_at_unix_s": NOW_UNIX_S + MAX_LIFETIME_S + 1},
        {"expires_at_unix_s": 1 << 63},
        {"addresses": ["192.0.2.1:1"] * (MAX_ADDRESSES + 1)},
        {"addresses": ["1" * 65]},
        {"relay_url": "h" * 257},
        {"name": "n" * 65},
        {"delegation": b"d" * 1025},
        {"running": -1},
        {"slots": 1 << 63},
        {"models": [{"id": "m", "endpoints": []}] * (MAX_ADVERT_MODELS + 1)},
        {"models": [{"id": "", "endpoints": []}]},
        {"models": [{"id": "m" * (MAX_MODEL_CHARS + 1), "endpoints": []}]},
        {"models": [{"id": "m", "endpoints": ["d"] * 33}]},
        {"models": [{"id": "m", "endpoints": ["d" * 65]}]},
        {"models": [{"id": "m", "endpoints": [], "capabilities": ["c"] * 17}]},
        {"models": [{"id": "m", "endpoints": [], "context_tokens": -1}]},
        {"models": [{"endpoints": []}]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_is_out_of_bounds_is_refused_whoever_signed_it(fields: dict) -> None:
    with pytest.raises(ProtocolFault):
        read_advert(signed(**fields))


def test_fields_of_newer_versions_are_ignored() -> None:
    assert read_advert(signed(something="new")).advert == an_advert()


def test_an_advert_is_bounded() -> None:
    models = tuple(AdvertModel(f"{number:04}" + "m" * 250, ()) for number in range(200))
    with pytest.raises(ValueError, match="bytes"):
        sign_advert(an_advert(models=models), ADA)
    for size in (0, SIGNATURE_BYTES, MAX_ADVERT_BYTES + 1):
        with pytest.raises(ProtocolFault, match=str(size)):
            read_advert(bytes(size))


def test_two_hundred_models_fit() -> None:
    endpoints = ("ollama_chat", "openai_chat", "anthropic_messages")
    models = tuple(AdvertModel(f"registry/family-{number}:7b-q4", endpoints, 8192, ("tools",)) for number in range(200))
    assert len(sign_advert(an_advert(models=models), ADA).signed) <= MAX_ADVERT_BYTES


@given(data=st.binary(max_size=400))
def test_any_bytes_are_an_advert_or_a_fault(data: bytes) -> None:
    with pytest.raises(ProtocolFault):
        open_advert(data, ADA, NOW_UNIX_S)


def test_clocks_may_differ_a_little() -> None:
    early = an_advert(issued_at_unix_s=NOW_UNIX_S + MAX_CLOCK_SKEW_S, expires_at_unix_s=NOW_UNIX_S + MAX_CLOCK_SKEW_S)
    assert not is_from_future(early, NOW_UNIX_S)
    assert is_from_future(early, NOW_UNIX_S - 1)
    with pytest.raises(ProtocolFault, match="clocks"):
        open_advert(sign_advert(early, ADA).signed, BOB, NOW_UNIX_S - 1)
    over_unix_s = NOW_UNIX_S + ADVERT_LIFETIME_S + MAX_CLOCK_SKEW_S
    assert is_in_force(an_advert(), over_unix_s - 1)
    assert not is_in_force(an_advert(), over_unix_s)


@pytest.mark.parametrize("field", [f.name for f in msgspec.structs.fields(Advert)])
def test_only_load_sequence_and_times_say_nothing_new(field: str) -> None:
    other = {
        "node_id": BOB.node_id,
        "sequence": 2,
        "issued_at_unix_s": NOW_UNIX_S + 1,
        "expires_at_unix_s": NOW_UNIX_S + 2,
        "version": "2",
        "name": "other",
        "addresses": ("192.0.2.9:9",),
        "relay_url": "https://relay.example",
        "models": (),
        "running": 3,
        "slots": 9,
        "delegation": b"stake",
    }[field]
    says_new = field not in ("node_id", "sequence", "issued_at_unix_s", "expires_at_unix_s", "running")
    assert says_the_same(an_advert(), an_advert(**{field: other})) is not says_new
