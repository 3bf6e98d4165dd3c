"""ECDSA over secp256k1 as Ethereum uses it: who signed a digest, and signing one. Pure.

Strict: for each digest and key that signed it a signature has one form, but for `v` (0 is 27, 1 is 28). The other form
of every signature, with a high s, is refused, as Ethereum refuses it since EIP-2.
"""

from masa_node.chat.errors import MasaError
from masa_node.staking.addresses import ADDRESS_BYTES, Address, address_of
from masa_node.staking.hashing import keccak256

DIGEST_BYTES = 32
SECRET_BYTES = 32
SIGNATURE_BYTES = 65  # r, s, v
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # SEC 2, 2.4.1: n of secp256k1
_MAX_S = _ORDER // 2
_PARITY = {0: 0, 1: 1, 27: 0, 28: 1}  # v by its two customs, yellow paper and EIP-2098's y parity


class BadSignature(MasaError):
    """The signature is not one that a wallet makes for this. Sign again, and copy the whole of it: 65 bytes."""

    code = "bad_signature"


try:
    from coincurve import PrivateKey, PublicKey

    def _public_key(secret: bytes) -> bytes:
        """64 bytes: x and y."""
        return PrivateKey(secret).public_key.format(compressed=False)[1:]

    def _recovered(digest: bytes, compact: bytes) -> bytes:
        """64 bytes: x and y. `compact` is r, s and the parity. Raises `ValueError` when no key can have signed this."""
        return PublicKey.from_signature_and_message(compact, digest, hasher=None).format(compressed=False)[1:]

    def _signed(digest: bytes, secret: bytes) -> bytes:
        """R, s and the parity; deterministic (RFC 6979), s low."""
        return PrivateKey(secret).sign_recoverable(digest, hasher=None)  # pyright: ignore[reportUnknownMemberType]

except ImportError:  # no wheel for this Python: the same in Python, some milliseconds a signature
    from eth_keys.backends.native.main import NativeECCBackend
    from eth_keys.datatypes import PrivateKey as PlainKey
    from eth_keys.datatypes import Signature
    from eth_keys.exceptions import BadSignature as NoSuchKey

    _BACKEND = NativeECCBackend()

    def _public_key(secret: bytes) -> bytes:
        return PlainKey(secret, backend=_BACKEND).public_key.to_bytes()

    def _recovered(digest: bytes, compact: bytes) -> bytes:
        try:
            return Signature(compact, backend=_BACKEND).recover_public_key_from_msg_hash(digest).to_bytes()
        except NoSuchKey as exc:
            raise ValueError(str(exc)) from exc

    def _signed(digest: bytes, secret: bytes) -> bytes:
        return PlainKey(secret, backend=_BACKEND).sign_msg_hash(digest).to_bytes()


def recover(digest: bytes, signature: bytes) -> Address:
    """Whose key signed the digest of 32 bytes: there is nearly always one, so compare. Raises `BadSignature`."""
    _expect(digest, DIGEST_BYTES, "digest")
    parity = _checked_parity(signature)
    try:
        public_key = _recovered(digest, signature[:-1] + bytes([parity]))
    except ValueError as exc:
        raise BadSignature("The signature is none that any key can have made. Was it copied unchanged?") from exc
    return _address(public_key)


def sign(digest: bytes, secret: bytes) -> bytes:
    """r, s and v (27 or 28), the same each time. Raises `ValueError` for a wrong length or a secret that is none."""
    _expect(digest, DIGEST_BYTES, "digest")
    _expect_secret(secret)
    compact = _signed(digest, secret)
    return compact[:-1] + bytes([27 + compact[-1]])


def address_of_secret(secret: bytes) -> Address:
    """Whose secret key this is. Raises `ValueError` for what is none."""
    _expect_secret(secret)
    return _address(_public_key(secret))


def _checked_parity(signature: bytes) -> int:
    """Is y odd, at the point that the signature names? Raises `BadSignature` for all but the one good form."""
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"The signature has {len(signature)} bytes; it must have 65. Was it copied whole?")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        raise BadSignature("The signature has an r or s that no signature has. Was it copied unchanged?")
    if s > _MAX_S:
        raise BadSignature("The signature has a high s: a changed copy of another one. Use the one the wallet gave.")
    parity = _PARITY.get(signature[-1])
    if parity is None:
        raise BadSignature(f"The signature ends with v = {signature[-1]}; it must be 0, 1, 27 or 28.")
    return parity


def _address(public_key: bytes) -> Address:
    """Yellow paper, appendix F: the last 20 bytes of the hash."""
    return address_of(keccak256(public_key)[-ADDRESS_BYTES:])


def _expect_secret(secret: bytes) -> None:
    _expect(secret, SECRET_BYTES, "secret key")
    if not 0 < int.from_bytes(secret) < _ORDER:
        raise ValueError("a secret key out of range")


def _expect(data: bytes, size: int, what: str) -> None:
    if len(data) != size:
        raise ValueError(f"a {what} of {len(data)} bytes, {size} are needed")
