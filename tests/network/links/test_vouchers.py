"""A voucher as it is signed and checked: each bound at both of its sides, and every byte of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import ProtocolFault
from masa_node.network.links import vouchers
from masa_node.network.links.vouchers import (
    MAX_VOUCHER_BYTES,
    MAX_VOUCHERS_SHOWN,
    VOUCHER_LIFETIME_S,
    Voucher,
    make_voucher,
    open_voucher,
    vouchers_to_show,
)
from masa_node.network.transport.interfaces import MAX_CLOCK_SKEW_S
from masa_node.network.transport.memory import MemoryKeys, MemoryNetwork

AT = 1_800_000_000
NETWORK = MemoryNetwork(seed=1)
MEMBER, SIGNER, READER = (NETWORK.keys(number) for number in (1, 2, 3))


def signed(payload: bytes, by: MemoryKeys = SIGNER, domain: bytes = b"masa voucher 1\n") -> bytes:
    return payload + by.sign(domain + payload)


def a_voucher(**changed: object) -> bytes:
    fields: dict[str, object] = {
        "member": MEMBER.node_id,
        "by": SIGNER.node_id,
        "issued_at_unix_s": AT,
        "expires_at_unix_s": AT + VOUCHER_LIFETIME_S,
    }
    return signed(msgspec.msgpack.encode(fields | changed))


def why_not(voucher: bytes, at_unix_s: float = AT) -> str:
    with pytest.raises(ProtocolFault) as fault:
        open_voucher(voucher, READER, at_unix_s)
    return fault.value.message


def test_the_bounds_are_those_of_the_protocol() -> None:
    assert (VOUCHER_LIFETIME_S, MAX_CLOCK_SKEW_S) == (90 * 24 * 3600, 300)
    assert (MAX_VOUCHER_BYTES, MAX_VOUCHERS_SHOWN) == (512, 4)


def test_what_is_made_is_read_by_another() -> None:
    made = make_voucher(MEMBER.node_id, SIGNER, AT + 0.9)
    assert made == a_voucher()
    assert open_voucher(made, READER, AT) == Voucher(MEMBER.node_id, SIGNER.node_id, AT, AT + VOUCHER_LIFETIME_S)


@pytest.mark.parametrize(
    ("at_unix_s", "is_in_force"),
    [
        (AT - MAX_CLOCK_SKEW_S - 1, False),
        (AT - MAX_CLOCK_SKEW_S, True),
        (AT + VOUCHER_LIFETIME_S + MAX_CLOCK_SKEW_S - 1, True),
        (AT + VOUCHER_LIFETIME_S + MAX_CLOCK_SKEW_S, False),
    ],
)
def test_it_is_in_force_from_its_first_to_its_last_second(at_unix_s: int, *, is_in_force: bool) -> None:
    if is_in_force:
        open_voucher(a_voucher(), READER, at_unix_s)
    else:
        assert "not in force" in why_not(a_voucher(), at_unix_s)


def test_none_lasts_longer_than_its_lifetime() -> None:
    assert "too long" in why_not(a_voucher(expires_at_unix_s=AT + VOUCHER_LIFETIME_S + 1))
    open_voucher(a_voucher(expires_at_unix_s=AT + 1), READER, AT)


def test_times_are_not_negative() -> None:
    assert "malformed" in why_not(a_voucher(issued_at_unix_s=-1), 0)
    assert "malformed" in why_not(a_voucher(issued_at_unix_s=-1, expires_at_unix_s=-1), 0)
    open_voucher(a_voucher(issued_at_unix_s=0, expires_at_unix_s=0), READER, 0)
    assert "malformed" in why_not(a_voucher(issued_at_unix_s=0, expires_at_unix_s=-1), 0)


@pytest.mark.parametrize("field", ["member", "by"])
@pytest.mark.parametrize("key", ["a" * 63, "a" * 65])
def test_keys_have_64_digits(field: str, key: str) -> None:
    assert "malformed" in why_not(a_voucher(**{field: key}))


@pytest.mark.parametrize("size", [0, 1, 63, 64, MAX_VOUCHER_BYTES + 1])
def test_what_is_too_short_or_too_long_is_not_even_decoded(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vouchers.msgspec.msgpack, "decode", None)
    assert f"{size} bytes" in why_not(b"x" * size)


def test_the_longest_is_read_and_unknown_fields_are_ignored() -> None:
    room = MAX_VOUCHER_BYTES - len(a_voucher(more=""))
    longest = a_voucher(more="x" * (room - 1))  # a text of 32 letters and more takes a byte more for its length
    assert len(longest) == MAX_VOUCHER_BYTES
    assert open_voucher(longest, READER, AT).member == MEMBER.node_id
    assert str(MAX_VOUCHER_BYTES + 1) in why_not(a_voucher(more="x" * room))


def test_65_bytes_are_decoded() -> None:
    assert "malformed" in why_not(b"x" * 65)


@pytest.mark.parametrize("domain", [b"", b"masa voucher 2\n", b"masa voucher 1", b"masa advert 1\n"])
def test_a_signature_over_anything_else_does_not_count(domain: bytes) -> None:
    payload = a_voucher()[:-64]
    assert "wrong signature" in why_not(signed(payload, domain=domain))
    assert "wrong signature" in why_not(signed(payload, by=MEMBER))
    assert "wrong signature" in why_not(payload + bytes(64))


@given(st.integers(0, len(a_voucher()) - 1), st.integers(1, 255))
def test_no_byte_of_it_may_be_another(at: int, change: int) -> None:
    good = a_voucher()
    why_not(good[:at] + bytes([good[at] ^ change]) + good[at + 1 :])


# ---- which are shown ----


def first(others: object, count: int) -> list:  # type: ignore[type-arg]
    return list(others)[:count]  # type: ignore[call-overload]


def test_words_of_common_members_are_shown_once_each_and_first() -> None:
    signers = [NETWORK.keys(number) for number in range(10, 16)]
    kept = {keys.node_id: make_voucher(MEMBER.node_id, keys, AT) for keys in signers}
    theirs = [make_voucher(READER.node_id, signers[number], AT) for number in (5, 5, 3)]
    unknown = [make_voucher(READER.node_id, NETWORK.keys(99), AT), b"garbage" * 30, b""]
    shown = vouchers_to_show(kept, [*unknown, *theirs], first)
    assert shown == tuple(kept[signers[number].node_id] for number in (5, 3, 0, 1))
    every = [make_voucher(READER.node_id, keys, AT) for keys in signers]
    assert vouchers_to_show(kept, every, first) == tuple(kept.values())[:MAX_VOUCHERS_SHOWN]
    assert vouchers_to_show({}, theirs, first) == ()
    few = dict(list(kept.items())[:2])
    assert vouchers_to_show(few, [], first) == tuple(few.values())
