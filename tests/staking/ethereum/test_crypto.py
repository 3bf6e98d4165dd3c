import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from eth_account import Account
from eth_keys import KeyAPI
from eth_keys.backends import CoinCurveECCBackend, NativeECCBackend
from eth_keys.exceptions import BadSignature as NoSuchKey
from hypothesis import example, given
from hypothesis import strategies as st

from masa_node.staking.ethereum import crypto
from masa_node.staking.ethereum.crypto import BadSignature, address_of_secret, recover, sign

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "staking" / "signatures.json").read_text("utf-8"))
SECRETS = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32))
DIGESTS = st.binary(min_size=32, max_size=32)
HAS_COINCURVE = hasattr(crypto, "PublicKey")  # there is none for the newest Python
ETH_KEYS = KeyAPI(CoinCurveECCBackend if HAS_COINCURVE else NativeECCBackend)
SECRET, DIGEST = b"\x01" * 32, b"\x07" * 32
GOOD = sign(DIGEST, SECRET)
OWNER = address_of_secret(SECRET)
R, S = int.from_bytes(GOOD[:32]), int.from_bytes(GOOD[32:64])


def signature(r: int = R, s: int = S, v: int = GOOD[64]) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32) + bytes([v])


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    """The module as it is where coincurve cannot be imported."""
    spec = importlib.util.spec_from_file_location("signatures_without_coincurve", crypto.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "coincurve", None)
        spec.loader.exec_module(module)
    assert not hasattr(module, "PublicKey")  # coincurve's
    return module


def outcome(module: ModuleType, digest: bytes, raw: bytes) -> str | None:
    try:
        return module.recover(digest, raw)
    except module.BadSignature:
        return None


@pytest.mark.parametrize("vector", VECTORS["signatures"], ids=lambda vector: vector["name"])
def test_a_vector_is_recovered_or_refused_as_published(vector: dict, plain: ModuleType) -> None:
    digest, raw = bytes.fromhex(vector["digest"]), bytes.fromhex(vector["signature"])
    assert outcome(crypto, digest, raw) == vector["signer"]
    assert outcome(plain, digest, raw) == vector["signer"]


@given(SECRETS, DIGESTS)
@example(SECRET, b"\0" * 32)
@example(SECRET, b"\xff" * 32)
@example((ORDER - 1).to_bytes(32), DIGEST)
def test_signatures_are_those_of_eth_account(secret: bytes, digest: bytes) -> None:
    theirs = Account.unsafe_sign_hash(digest, secret)
    assert sign(digest, secret) == theirs.signature
    assert recover(digest, theirs.signature) == address_of_secret(secret) == Account.from_key(secret).address


@given(SECRETS, DIGESTS)
@example(SECRET, b"\0" * 32)
@example(SECRET, b"\xff" * 32)
@example((ORDER - 1).to_bytes(32), DIGEST)
def test_without_coincurve_signatures_and_addresses_are_the_same(
    plain: ModuleType, secret: bytes, digest: bytes
) -> None:
    made = sign(digest, secret)
    assert plain.sign(digest, secret) == made
    assert plain.recover(digest, made) == recover(digest, made)
    assert plain.address_of_secret(secret) == address_of_secret(secret)


@given(DIGESTS, st.integers(1, ORDER - 1), st.integers(1, ORDER // 2), st.sampled_from([0, 1, 27, 28]))
def test_of_arbitrary_numbers_eth_keys_recovers_the_same_or_nothing(digest: bytes, r: int, s: int, v: int) -> None:
    try:
        key = ETH_KEYS.Signature(vrs=(v % 27, r, s)).recover_public_key_from_msg_hash(digest)
    except NoSuchKey:
        with pytest.raises(BadSignature):
            recover(digest, signature(r, s, v))
    else:
        assert recover(digest, signature(r, s, v)) == key.to_checksum_address()


@given(DIGESTS, st.binary(min_size=64, max_size=64), st.sampled_from([0, 1, 27, 28]))
def test_without_coincurve_arbitrary_bytes_come_to_the_same(
    plain: ModuleType, digest: bytes, both: bytes, v: int
) -> None:
    raw = both[:32] + bytes([both[32] & 0x7F]) + both[33:] + bytes([v])  # mostly a low s: the rest never gets far
    assert outcome(plain, digest, raw) == outcome(crypto, digest, raw)


@pytest.mark.parametrize("v", range(256))
def test_of_every_v_only_four_are_taken(v: int) -> None:
    parity = GOOD[64] - 27
    if v in (parity, 27 + parity):
        assert recover(DIGEST, signature(v=v)) == OWNER
    elif v in (1 - parity, 28 - parity):
        assert recover(DIGEST, signature(v=v)) != OWNER
    else:
        with pytest.raises(BadSignature, match=f"v = {v};"):
            recover(DIGEST, signature(v=v))


@given(SECRETS, DIGESTS)
def test_the_high_s_twin_of_a_good_signature_is_refused(secret: bytes, digest: bytes) -> None:
    made = sign(digest, secret)
    s = int.from_bytes(made[32:64])
    twin = made[:32] + (ORDER - s).to_bytes(32) + bytes([55 - made[64]])
    key = ETH_KEYS.Signature(vrs=(twin[64] - 27, int.from_bytes(twin[:32]), ORDER - s))
    assert key.recover_public_key_from_msg_hash(digest).to_checksum_address() == address_of_secret(secret)
    with pytest.raises(BadSignature, match="high s"):
        recover(digest, twin)


@pytest.mark.parametrize("bad", [0, ORDER, ORDER + 1, 2**256 - 1])
@pytest.mark.parametrize("part", ["r", "s"])
def test_r_and_s_are_within_the_group(part: str, bad: int) -> None:
    with pytest.raises(BadSignature, match="r or s"):
        recover(DIGEST, signature(**{part: bad}))


def test_s_is_taken_up_to_half_the_order_and_no_further() -> None:
    recover(DIGEST, signature(s=ORDER // 2))
    with pytest.raises(BadSignature, match="high s"):
        recover(DIGEST, signature(s=ORDER // 2 + 1))


@pytest.mark.parametrize("size", [size for size in range(131) if size != 65])
def test_a_signature_has_65_bytes(size: int) -> None:
    with pytest.raises(BadSignature, match=f"{size} bytes"):
        recover(DIGEST, (GOOD * 2 + b"\0")[:size])


@pytest.mark.parametrize("bit", range(65 * 8))
def test_with_any_bit_changed_it_is_no_signature_of_the_owner(bit: int) -> None:
    changed = bytearray(GOOD)
    changed[bit // 8] ^= 1 << bit % 8
    assert outcome(crypto, DIGEST, bytes(changed)) != OWNER


@given(st.integers(0, 255))
def test_for_another_digest_it_is_no_signature_of_the_owner(bit: int) -> None:
    changed = bytearray(DIGEST)
    changed[bit // 8] ^= 1 << bit % 8
    assert outcome(crypto, bytes(changed), GOOD) != OWNER


def test_an_r_that_is_on_no_point_is_refused(plain: ModuleType) -> None:
    on_none = next(r for r in range(1, 100) if (pow(r**3 + 7, (2**256 - 2**32 - 978) // 2, 2**256 - 2**32 - 977)) != 1)
    for module in (crypto, plain):
        with pytest.raises(module.BadSignature, match="none that any key"):
            module.recover(DIGEST, signature(r=on_none))


@pytest.mark.parametrize("secret", [b"", b"\1" * 31, b"\1" * 33, b"\0" * 32, ORDER.to_bytes(32), b"\xff" * 32])
def test_what_is_no_secret_key_signs_nothing_and_is_not_quoted(secret: bytes, plain: ModuleType) -> None:
    for module in (crypto, plain):
        with pytest.raises(ValueError, match="secret key") as refused:
            module.sign(DIGEST, secret)
        assert not secret or secret.hex() not in str(refused.value)
        with pytest.raises(ValueError, match="secret key"):
            module.address_of_secret(secret)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_digest_has_32_bytes(size: int, plain: ModuleType) -> None:
    for module in (crypto, plain):
        with pytest.raises(ValueError, match="digest"):
            module.sign(bytes(size), SECRET)
        with pytest.raises(ValueError, match="digest"):
            module.recover(bytes(size), GOOD)


def test_coincurve_is_used_where_it_is_installed() -> None:
    assert (importlib.util.find_spec("coincurve") is not None) == HAS_COINCURVE
