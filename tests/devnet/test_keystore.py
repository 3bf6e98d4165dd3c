import json
from pathlib import Path

import pytest
from eth_account import Account

from masa_node.devnet.keystore import RANDOM_BYTES, keystore
from masa_node.staking.contract.wallet import WrongPassphrase, open_keystore
from masa_node.staking.ethereum.crypto import address_of_secret

SECRET = bytes(range(1, 33))
ADDRESS = address_of_secret(SECRET)
FILE = keystore(SECRET, ADDRESS, "pass wört", bytes(range(RANDOM_BYTES)))


def test_another_implementation_decrypts_the_same_key() -> None:
    assert Account.decrypt(json.loads(FILE), "pass wört") == SECRET


def test_another_implementation_refuses_another_passphrase() -> None:
    with pytest.raises(ValueError, match="MAC mismatch"):
        Account.decrypt(json.loads(FILE), "pass wort")


def test_our_wallet_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "owner.json"
    path.write_bytes(FILE)
    assert open_keystore(path, "pass wört").address == ADDRESS
    with pytest.raises(WrongPassphrase):
        open_keystore(path, "devnet")


def test_it_names_the_address_and_hides_the_key() -> None:
    assert json.loads(FILE)["address"] == ADDRESS[2:].lower()
    assert SECRET.hex() not in FILE.decode()


def test_each_file_is_encrypted_again() -> None:
    other = keystore(SECRET, ADDRESS, "pass wört", bytes(range(1, RANDOM_BYTES + 1)))
    assert json.loads(other)["crypto"]["ciphertext"] != json.loads(FILE)["crypto"]["ciphertext"]


@pytest.mark.parametrize("size", [0, RANDOM_BYTES - 1, RANDOM_BYTES + 1])
def test_too_little_randomness_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="randomness"):
        keystore(SECRET, ADDRESS, "x", bytes(size))
