import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import example, given
from hypothesis import strategies as st

from masa_node.staking import delegation as module
from masa_node.staking.delegation import (
    MAX_BYTES,
    MAX_CLOCK_SKEW_S,
    MAX_LIFETIME_S,
    BadDelegation,
    Delegation,
    Domain,
    SignedDelegation,
    check,
    decode,
    digest,
    encode,
    typed_data,
)
from masa_node.staking.ethereum.crypto import address_of, address_of_secret, parse_address, sign
from tests.staking.make_vectors import FILES, FOLDER, text_of

VECTORS = json.loads((FOLDER / "delegations.json").read_text("utf-8"))
PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
MAX_UINT64 = 2**64 - 1
SECRET = b"\x01" * 32
OWNER = address_of_secret(SECRET)
KEY = b"\x05" * 32
FROM_S = 1_800_000_000
UNTIL_S = FROM_S + MAX_LIFETIME_S
DOMAIN = Domain(11155111, address_of(b"\x33" * 20))
WHY = {  # what the message says, by the check that failed
    "form": "bytes|malformed|epoch|chain's id|names no node key|ends before",
    "key": "which showed it",
    "chain": "is for chain",
    "contract": "is for the contract",
    "lifetime": "the limit is 90 days",
    "early": "begins only in",
    "late": "ended",
    "signature": "signature|signed by another",
}

UINT64 = st.integers(0, MAX_UINT64)
ADDRESSES = st.binary(min_size=20, max_size=20).map(address_of)
DOMAINS = st.builds(Domain, st.integers(1, MAX_UINT64), ADDRESSES)
DELEGATIONS = st.tuples(
    ADDRESSES, st.binary(min_size=32, max_size=32).filter(any), UINT64, st.tuples(UINT64, UINT64).map(sorted), DOMAINS
).map(lambda made: Delegation(*made[:3], *made[3], made[4]))


def a_delegation(**fields: object) -> Delegation:
    about = {"owner": OWNER, "node_key": KEY, "epoch": 0, "domain": DOMAIN}
    return Delegation(**about | {"not_before_unix_s": FROM_S, "not_after_unix_s": UNTIL_S} | fields)


def signed(d: Delegation, secret: bytes = SECRET) -> SignedDelegation:
    return SignedDelegation(d, sign(digest(d), secret))


def refusal(s: SignedDelegation, presented_by: str = KEY.hex(), domain: Domain = DOMAIN, at: float = FROM_S) -> str:
    with pytest.raises(BadDelegation) as refused:
        check(s, presented_by, domain, at)
    return refused.value.message


GOOD = signed(a_delegation())


@pytest.mark.parametrize("name", FILES)
def test_the_vectors_are_what_eth_account_makes(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == text_of(FILES[name]())


@pytest.mark.parametrize("vector", VECTORS["made"], ids=lambda vector: vector["name"])
def test_a_vector_is_made_and_read_as_published(vector: dict[str, Any]) -> None:
    about = vector["delegation"]
    domain = Domain(about["chain_id"], parse_address(about["contract"]))
    times = about["not_before_unix_s"], about["not_after_unix_s"]
    made = Delegation(about["owner"], bytes.fromhex(about["node_key"]), about["epoch"], *times, domain)
    assert typed_data(made) == vector["typed_data"]
    assert digest(made).hex() == vector["digest"]
    complete = signed(made, bytes.fromhex(VECTORS["secret_key"]))
    assert complete.signature.hex() == vector["signature"]
    assert encode(complete).hex() == vector["bytes"]
    assert decode(bytes.fromhex(vector["bytes"])) == complete


def take(case: dict[str, Any]) -> None:
    domain = Domain(case["chain_id"], parse_address(case["contract"]))
    check(decode(bytes.fromhex(case["bytes"])), case["presented_by"], domain, case["at_unix_s"])


@pytest.mark.parametrize("case", VECTORS["accepted"], ids=lambda case: case["name"])
def test_what_holds_is_taken(case: dict[str, Any]) -> None:
    take(case)


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["name"])
def test_what_does_not_hold_is_refused_for_the_right_reason(case: dict[str, Any]) -> None:
    with pytest.raises(BadDelegation, match=WHY[case["why"]]):
        take(case)


def test_the_type_is_the_published_one() -> None:
    assert VECTORS["type_hash"] == keccak(text=VECTORS["type"]).hex() == module.TYPE_HASH.hex()
    assert VECTORS["type"] in PROTOCOL


@given(DELEGATIONS)
def test_the_digest_is_that_of_eth_account(d: Delegation) -> None:
    message = encode_typed_data(full_message=json.loads(json.dumps(typed_data(d))))
    assert digest(d) == keccak(b"\x19" + message.version + message.header + message.body)


@given(DELEGATIONS, st.binary(min_size=32, max_size=32).filter(lambda secret: 0 < int.from_bytes(secret) < 2**255))
def test_what_a_wallet_signs_is_what_is_checked(d: Delegation, secret: bytes) -> None:
    d = msgspec.structs.replace(d, owner=address_of_secret(secret), not_after_unix_s=d.not_before_unix_s)
    wallets = Account.sign_typed_data(secret, full_message=json.loads(json.dumps(typed_data(d))))
    shown = encode(SignedDelegation(d, bytes(wallets.signature)))
    check(decode(shown), d.node_key.hex(), d.domain, d.not_before_unix_s)


@given(DELEGATIONS, st.binary(max_size=700), st.booleans())
def test_what_is_written_is_read(d: Delegation, signature: bytes, is_contract: bool) -> None:  # noqa: FBT001
    made = SignedDelegation(d, signature, is_contract)
    assert decode(encode(made)) == made
    assert len(encode(made)) <= MAX_BYTES


@pytest.mark.parametrize("change", [{"epoch": 1}, {"node_key": b"\x06" * 32}, {"not_before_unix_s": FROM_S - 1}])
def test_no_field_can_be_changed_under_a_signature(change: dict[str, Any]) -> None:
    d = a_delegation(not_after_unix_s=FROM_S + 1, **{"not_before_unix_s": FROM_S} | change)
    shown = SignedDelegation(d, signed(a_delegation(not_after_unix_s=FROM_S + 1)).signature)
    assert "signed by another" in refusal(shown, d.node_key.hex())


def test_a_copied_delegation_is_refused_for_the_thief() -> None:
    check(GOOD, KEY.hex(), DOMAIN, FROM_S)
    assert "which showed it" in refusal(GOOD, presented_by="06" * 32)


@pytest.mark.parametrize("presented_by", ["", KEY.hex()[:-1], KEY.hex() + "0", "0x" + KEY.hex(), "Ab" * 32])
def test_a_key_that_is_written_otherwise_is_another_key(presented_by: str) -> None:
    assert "which showed it" in refusal(GOOD, presented_by=presented_by)


def test_the_cheapest_check_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def recover(digest: bytes, signature: bytes) -> str:
        pytest.fail("the signature was looked at")

    monkeypatch.setattr(module, "recover", recover)
    elsewhere = Domain(1, DOMAIN.contract)
    assert "which showed it" in refusal(GOOD, "06" * 32, elsewhere, 0)
    assert "is for chain" in refusal(GOOD, domain=elsewhere, at=0)
    assert "is for the contract" in refusal(GOOD, domain=Domain(DOMAIN.chain_id, OWNER), at=0)
    assert "begins only in" in refusal(GOOD, at=0)


def test_a_contract_is_not_judged_here_but_all_else_is() -> None:
    safe = SignedDelegation(a_delegation(), b"", is_contract=True)
    check(safe, KEY.hex(), DOMAIN, FROM_S)
    assert "which showed it" in refusal(safe, presented_by="06" * 32)
    assert "is for chain" in refusal(safe, domain=Domain(1, DOMAIN.contract))
    assert "ended" in refusal(safe, at=UNTIL_S + MAX_CLOCK_SKEW_S)


def test_who_claims_not_to_be_a_contract_needs_a_signature() -> None:
    assert "0 bytes" in refusal(SignedDelegation(a_delegation(), b""))


@pytest.mark.parametrize("at", [FROM_S - MAX_CLOCK_SKEW_S, FROM_S, UNTIL_S, UNTIL_S + MAX_CLOCK_SKEW_S - 0.001])
def test_it_is_in_force_from_its_beginning_to_its_end_give_or_take_the_clocks(at: float) -> None:
    check(GOOD, KEY.hex(), DOMAIN, at)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (FROM_S - MAX_CLOCK_SKEW_S - 0.001, "begins only in 5 minutes"),
        (FROM_S - 3 * 86400, "begins only in 3 days"),
        (UNTIL_S + MAX_CLOCK_SKEW_S, "ended 5 minutes ago"),
        (UNTIL_S + 7200, "ended 2 hours ago"),
        (UNTIL_S + 2.5 * 86400, "ended 2 days ago"),
    ],
)
def test_before_and_after_it_is_refused_and_says_by_how_much(at: float, said: str) -> None:
    assert said in refusal(GOOD, at=at)


def test_the_bounds_are_the_published_ones_to_the_second() -> None:
    assert (MAX_LIFETIME_S, MAX_CLOCK_SKEW_S, MAX_BYTES) == (90 * 24 * 60 * 60, 5 * 60, 1024)


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1])
def test_what_an_advert_has_room_for_is_written_and_read_and_not_a_byte_more(size: int) -> None:
    empty = SignedDelegation(a_delegation(), bytes(300), is_contract=True)
    made = msgspec.structs.replace(empty, signature=bytes(300 + size - len(encode(empty))))
    if size > MAX_BYTES:
        with pytest.raises(BadDelegation, match="fewer signers"):
            encode(made)
        return
    assert len(encode(made)) == size
    assert decode(encode(made)) == made
    with pytest.raises(BadDelegation, match=f"has {size + 1} bytes"):
        decode(encode(made) + b"\0")


@pytest.mark.parametrize("field", ["owner", "node_key", "epoch", "not_after_unix_s", "domain"])
def test_what_was_checked_cannot_be_changed_afterwards(field: str) -> None:
    shown = signed(a_delegation())
    with pytest.raises(AttributeError):
        setattr(shown.delegation, field, getattr(shown.delegation, field))
    with pytest.raises(AttributeError):
        setattr(shown, "is_contract", True)  # noqa: B010


@pytest.mark.parametrize("begins", [0, MAX_UINT64 - MAX_LIFETIME_S - 1])
def test_no_lifetime_is_longer_than_90_days(begins: int) -> None:
    longest = signed(a_delegation(not_before_unix_s=begins, not_after_unix_s=begins + MAX_LIFETIME_S))
    check(longest, KEY.hex(), DOMAIN, begins)
    longer = signed(a_delegation(not_before_unix_s=begins, not_after_unix_s=begins + MAX_LIFETIME_S + 1))
    assert "the limit is 90 days" in refusal(longer, at=begins)


@pytest.mark.parametrize(
    "fields",
    [
        {"epoch": -1},
        {"epoch": MAX_UINT64 + 1},
        {"not_before_unix_s": -1},
        {"not_after_unix_s": MAX_UINT64 + 1},
        {"not_before_unix_s": UNTIL_S + 1},
        {"node_key": b""},
        {"node_key": b"\x01" * 31},
        {"node_key": b"\x01" * 33},
        {"node_key": bytes(32)},
    ],
)
def test_what_no_delegation_can_hold_cannot_be_made(fields: dict[str, Any]) -> None:
    with pytest.raises(BadDelegation):
        a_delegation(**fields)


@pytest.mark.parametrize("chain_id", [-1, 0, MAX_UINT64 + 1])
def test_a_chain_has_a_number_above_zero(chain_id: int) -> None:
    with pytest.raises(BadDelegation, match="chain's id"):
        Domain(chain_id, OWNER)


@pytest.mark.parametrize("epoch", [0, 1, 2**63, MAX_UINT64])
def test_every_epoch_of_the_contract_can_be_named(epoch: int) -> None:
    check(decode(encode(signed(a_delegation(epoch=epoch)))), KEY.hex(), DOMAIN, FROM_S)


def test_a_safe_with_eleven_owners_has_room_in_an_advert_and_one_with_twenty_is_told() -> None:
    encode(SignedDelegation(a_delegation(epoch=MAX_UINT64), bytes(11 * 65), is_contract=True))
    with pytest.raises(BadDelegation, match="fewer signers"):
        encode(SignedDelegation(a_delegation(), bytes(20 * 65), is_contract=True))


@pytest.mark.parametrize("cut", range(len(encode(GOOD))))
def test_a_truncated_one_is_refused(cut: int) -> None:
    with pytest.raises(BadDelegation, match="malformed"):
        decode(encode(GOOD)[:cut])


@given(st.binary(max_size=MAX_BYTES + 1))
@example(b"\x91" * MAX_BYTES)  # nested beyond measure
@example(b"\xdf\xff\xff\xff\xff")  # a map of 2^32 keys
@example(b"\x81\xa5owner\xc6\xff\xff\xff\xff")  # bytes of 4 GiB
@example(b"\x81\xa2\xff\xfe\x00")  # a key that is no text
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(BadDelegation):
        decode(data)


@given(st.data())
def test_a_spoilt_one_is_refused_or_fails_the_check_or_means_the_same(data: st.DataObject) -> None:
    spoilt = bytearray(encode(GOOD))
    for at in data.draw(st.lists(st.integers(0, len(spoilt) - 1), min_size=1, max_size=3)):
        spoilt[at] = data.draw(st.integers(0, 255))
    try:
        read = decode(bytes(spoilt))
        check(read, KEY.hex(), DOMAIN, FROM_S)
    except BadDelegation:
        return
    assert read.delegation == GOOD.delegation
    assert read.signature[:64] == GOOD.signature[:64]


def test_no_changed_bit_of_the_bytes_gives_another_delegation() -> None:
    good = encode(GOOD)
    for bit in range(8 * len(good)):
        spoilt = bytearray(good)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadDelegation):
            check(decode(bytes(spoilt)), KEY.hex(), DOMAIN, FROM_S)


def test_what_the_sender_wrote_is_not_quoted() -> None:
    fields = msgspec.msgpack.decode(encode(GOOD))
    with pytest.raises(BadDelegation) as refused:
        decode(msgspec.msgpack.encode(fields | {"\x1b[2Jhello": 1}))
    assert "hello" not in refused.value.message


def test_every_refusal_is_a_short_sentence_for_people() -> None:
    assert BadDelegation.code == "bad_delegation"
    for case in VECTORS["refused"]:
        with pytest.raises(BadDelegation) as refused:
            take(case)
        said = refused.value.message
        assert re.fullmatch(r"[A-Z][^\n]{30,240}[.?]", said), said
        assert said.isprintable()


def test_the_specification_names_every_field_and_bound() -> None:
    section = PROTOCOL.partition("### 3.6 Delegations")[2].partition("\n## ")[0]
    keys = msgspec.msgpack.decode(encode(SignedDelegation(GOOD.delegation, b"", is_contract=True)))
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == list(keys)
    for bound in (MAX_BYTES, MAX_LIFETIME_S // 86400, MAX_CLOCK_SKEW_S):
        assert re.search(rf"\b{bound}\b", section)


def test_only_so_many_domains_are_remembered() -> None:
    for chain_id in range(1, 100):
        digest(a_delegation(domain=Domain(chain_id, OWNER)))
    assert module.separator_of.cache_info().currsize <= module.KNOWN_DOMAINS
