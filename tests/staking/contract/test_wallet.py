import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import ConfigurationError, MasaError
from masa_node.devnet.keystore import RANDOM_BYTES, keystore
from masa_node.staking.contract.transactions import Draft
from masa_node.staking.contract.wallet import Wallet, WrongPassphrase, keystore_address, open_keystore
from masa_node.staking.delegation import Delegation, Domain, SignedDelegation, check, typed_data
from masa_node.staking.ethereum.crypto import parse_address

SECRET = bytes(range(1, 33))
ADDRESS = parse_address(Account.from_key(SECRET).address)
CONTRACT = parse_address("0x" + "c0" * 20)
MADE: dict[str, Any] = Account.encrypt(SECRET, "right", kdf="pbkdf2", iterations=2)
DRAFT = Draft(CONTRACT, b"\x01\x02", 0, 60_000, 30, 2, 7, 31337)


def written(folder: Path, content: object) -> Path:
    path = folder / "wallet.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize("kdf", ["pbkdf2", "scrypt"])
def test_a_keystore_of_eth_account_opens(tmp_path: Path, kdf: Literal["pbkdf2", "scrypt"]) -> None:
    path = written(tmp_path, Account.encrypt(SECRET, "pass wörd", kdf=kdf, iterations=2))
    assert keystore_address(path) == ADDRESS
    assert open_keystore(path, "pass wörd").address == ADDRESS


def test_a_keystore_of_the_devnet_opens(tmp_path: Path) -> None:
    path = written(tmp_path, keystore(SECRET, ADDRESS, "devnet", bytes(RANDOM_BYTES)))
    assert open_keystore(path, "devnet").address == ADDRESS


def test_a_keystore_need_not_say_whose_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, {name: value for name, value in MADE.items() if name != "address"})
    assert keystore_address(path) is None
    assert open_keystore(path, "right").address == ADDRESS


@pytest.mark.parametrize("passphrase", ["wrong", "", "right "])
def test_a_wrong_passphrase_is_told_without_it(tmp_path: Path, passphrase: str) -> None:
    with pytest.raises(WrongPassphrase) as caught:
        open_keystore(written(tmp_path, MADE), passphrase)
    assert "passphrase does not open" in caught.value.message


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            open_keystore(path, "right")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b"0x" + SECRET.hex().encode(),
        {},
        {"version": 1, "crypto": {}},
        {"version": 3},
        {"version": 3, "crypto": {}},
        {"version": 3, "crypto": []},
        {**MADE, "crypto": {**MADE["crypto"], "kdf": "md5"}},
        {**MADE, "crypto": {**MADE["crypto"], "kdfparams": {}}},
    ],
)
def test_what_is_no_keystore_is_told_and_never_shown(tmp_path: Path, content: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_keystore(written(tmp_path, content), "right")
    assert "is not a keystore of version 3" in caught.value.message
    assert SECRET.hex() not in caught.value.message


def test_a_keystore_that_lies_about_its_address_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, {**MADE, "address": "c0" * 20})
    with pytest.raises(ConfigurationError, match="but holds the key of"):
        open_keystore(path, "right")
    with pytest.raises(ConfigurationError, match="address is not valid"):
        keystore_address(written(tmp_path, {**MADE, "address": "c0"}))


fields = st.none() | st.booleans() | st.integers(-1, 99) | st.text(max_size=8) | st.just({})


@given(
    where=st.sampled_from(["", "crypto", "kdfparams", "cipherparams"]),
    name=st.sampled_from(["ciphertext", "mac", "kdf", "cipher", "iv", "c", "dklen", "prf", "salt", "crypto"]),
    value=fields,
)
def test_a_damaged_keystore_never_opens_as_another_wallet(
    where: str, name: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = json.loads(json.dumps(MADE))
    location = {"": damaged, "crypto": damaged["crypto"]}.get(where) or damaged["crypto"][where]
    location[name] = value
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_text(json.dumps(damaged))
    try:
        assert open_keystore(path, "right").address == ADDRESS
    except MasaError as exc:
        assert SECRET.hex() not in exc.message  # noqa: PT017 - both may be


def test_without_eth_account_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eth_account", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'masa-node\[stake\]'"):
        open_keystore(written(tmp_path, MADE), "right")


def test_a_wallet_does_not_tell_its_key() -> None:
    wallet = Wallet(Account.from_key(SECRET))
    assert repr(wallet) == str(wallet) == f"Wallet({ADDRESS})"


def test_a_signed_delegation_is_good() -> None:
    now = int(time.time())
    delegation = Delegation(ADDRESS, bytes(range(32)), 3, now, now + 60, Domain(31337, CONTRACT))
    signature = Wallet(Account.from_key(SECRET)).sign_typed_data(typed_data(delegation))
    check(SignedDelegation(delegation, signature), bytes(range(32)).hex(), delegation.domain, now)


def test_a_signed_transaction_holds_what_the_draft_says() -> None:
    raw = Wallet(Account.from_key(SECRET)).sign_transaction(DRAFT)
    assert raw[0] == 2
    read = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    shown = {name: read[name] for name in ("chainId", "nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas", "value")}
    assert shown == {
        "chainId": 31337,
        "nonce": 7,
        "gas": 60_000,
        "maxFeePerGas": 30,
        "maxPriorityFeePerGas": 2,
        "value": 0,
    }
    assert bytes(read["to"]) == bytes.fromhex(CONTRACT[2:])
    assert bytes(read["data"]) == b"\x01\x02"
    assert Account.recover_transaction(raw) == ADDRESS


def test_a_transaction_for_a_chain_without_a_base_fee_is_bound_to_that_chain() -> None:
    wallet = Wallet(Account.from_key(SECRET))
    draft = Draft(CONTRACT, b"", 0, 60_000, 30, None, 7, 31337)
    raw = wallet.sign_transaction(draft)
    assert raw[0] >= 0xC0  # an RLP list: the older kind
    assert Account.recover_transaction(raw) == ADDRESS
    other = wallet.sign_transaction(Draft(CONTRACT, b"", 0, 60_000, 30, None, 7, 1))
    assert keccak(raw) != keccak(other)


def test_eth_account_is_not_loaded_until_it_is_needed() -> None:
    code = (
        "import sys, masa_node.staking.contract.wallet, masa_node.cli.stake.send; sys.exit('eth_account' in "
        "sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
