"""A wallet's keystore file, opened for one command. The only file that knows eth-account, which is an optional extra.

Keys stay in the object: nothing here prints, logs or keeps them. All of it is blocking: opening takes a second.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from masa_node.chat.errors import ConfigurationError, MasaError
from masa_node.staking.contract.transactions import Draft
from masa_node.staking.ethereum.crypto import Address, parse_address
from masa_node.storage.extras import how_to_add

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

MAX_KEYSTORE_BYTES = 64 * 1024  # one takes half a kilobyte
_VERSION = 3  # https://ethereum.org/en/developers/docs/data-structures-and-encoding/web3-secret-storage/
# How eth-account refuses a file of another form, key derivation or cipher.
_ANOTHER_FORM = (KeyError, TypeError, AttributeError, AssertionError, NotImplementedError)


class WrongPassphrase(MasaError):
    """The passphrase does not open the keystore. Give the one with which it was made."""

    code = "wrong_passphrase"


class Wallet:
    """An opened keystore: it signs, and does not reveal its key."""

    def __init__(self, account: "LocalAccount") -> None:
        self._account = account
        self.address: Address = parse_address(account.address)

    def __repr__(self) -> str:
        return f"Wallet({self.address})"

    def sign_typed_data(self, data: dict[str, object]) -> bytes:
        """65 bytes over EIP-712 typed data, as `eth_signTypedData_v4` gives."""
        signed = self._account.sign_typed_data(full_message=cast("dict[str, Any]", data))
        return bytes(signed.signature)

    def sign_transaction(self, draft: Draft) -> bytes:
        """The signed transaction as it is sent."""
        return bytes(self._account.sign_transaction(cast("dict[str, Any]", _fields(draft))).raw_transaction)


def keystore_address(path: Path) -> Address | None:
    """The address that the file says its key has; None where it does not say. Raises `ConfigurationError`."""
    text = _keystore(path).get("address")
    if not isinstance(text, str):
        return None
    try:
        return parse_address(f"0x{text.removeprefix('0x').lower()}")
    except ValueError as exc:
        raise ConfigurationError(f"{path}: its address is not valid. {exc}") from exc


def open_keystore(path: Path, passphrase: str) -> Wallet:
    """Decrypt the key in this file (Web3 secret storage, version 3: geth, Clef, MetaMask's and Foundry's exports).

    Raises `WrongPassphrase`; `ConfigurationError` for no such file, no keystore, or when eth-account is not installed.
    """
    keystore = _keystore(path)
    account = _account_class()
    try:
        key = account.decrypt(keystore, passphrase)
        opened = Wallet(account.from_key(key))
    except _ANOTHER_FORM as exc:
        raise _no_keystore(path) from exc
    except (ValueError, OverflowError, MemoryError) as exc:
        raise WrongPassphrase(
            f"The passphrase does not open {path}. Is it the one of this wallet, and the file unchanged?"
        ) from exc
    stated = keystore_address(path)
    if stated not in (None, opened.address):
        raise ConfigurationError(f"{path} says that it is of {stated}, but holds the key of {opened.address}.")
    return opened


def need_eth_account() -> None:
    """Raises `ConfigurationError` when eth-account is not installed: said before anything else is asked."""
    _account_class()


def _account_class() -> Any:  # noqa: ANN401 - the class' own annotations are partly unknown
    try:
        from eth_account import Account  # noqa: PLC0415 - optional, and takes a second
    except ImportError as exc:
        raise ConfigurationError(
            f"A keystore file needs one more package: {how_to_add('stake')}; or leave --keystore out, and sign with "
            "your wallet."
        ) from exc
    return Account


def _keystore(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEYSTORE_BYTES + 1)
    except OSError as exc:
        raise ConfigurationError(f"The keystore {path} cannot be read: {exc.strerror or exc}.") from exc
    try:
        found = msgspec.json.decode(data if len(data) <= MAX_KEYSTORE_BYTES else b"", type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _no_keystore(path) from exc
    if found.get("version") != _VERSION:
        raise _no_keystore(path)
    return found


def _no_keystore(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not a keystore of version {_VERSION}. It is a JSON file in which wallets export one encrypted key."
    )


def _fields(draft: Draft) -> dict[str, object]:
    fields: dict[str, object] = {
        "to": draft.to,
        "data": draft.data,
        "value": draft.value,
        "gas": draft.gas,
        "nonce": draft.nonce,
        "chainId": draft.chain_id,
    }
    if draft.priority_fee is None:
        return {**fields, "gasPrice": draft.max_fee}
    return {**fields, "type": 2, "maxFeePerGas": draft.max_fee, "maxPriorityFeePerGas": draft.priority_fee}
