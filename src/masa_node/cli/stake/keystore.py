"""How a command comes by a wallet: a keystore file, and a passphrase, asked hidden or from the environment."""

import os
from pathlib import Path

import typer

from masa_node.chat.errors import ConfigurationError
from masa_node.cli.stake.context import is_a_person_there
from masa_node.staking.contract.wallet import Wallet, keystore_address, need_eth_account, open_keystore
from masa_node.staking.ethereum.crypto import Address

PASSPHRASE = "MASA_KEYSTORE_PASSPHRASE"  # noqa: S105 - the name of a variable


def owner_of(path: Path, named: Address | None) -> Address:
    """The address of this keystore. Raises `ConfigurationError`, also when another owner is named."""
    need_eth_account()
    found = keystore_address(path.expanduser()) or named
    if found is None:
        raise ConfigurationError(f"{path} does not say whose key it holds. Name it: --owner ADDRESS")
    if named not in (None, found):
        raise ConfigurationError(f"{path} is the keystore of {found}, and --owner is {named}. Leave one of them out.")
    return found


def ask_passphrase(path: Path) -> str:
    """From the environment, else from the person. Raises `ConfigurationError` when there is neither."""
    given = os.environ.get(PASSPHRASE)
    if given is not None:
        return given
    if not is_a_person_there():
        raise ConfigurationError(f"There is no terminal to ask for the passphrase of {path}. Set {PASSPHRASE}.")
    asked: str = typer.prompt(f"Passphrase of {path}", hide_input=True, err=True, default="", show_default=False)
    return asked


def unlock(path: Path, passphrase: str, owner: Address) -> Wallet:
    """The wallet of this owner. Raises `WrongPassphrase`, `ConfigurationError`."""
    wallet = open_keystore(path.expanduser(), passphrase)
    if wallet.address != owner:
        raise ConfigurationError(f"{path} holds the key of {wallet.address}, not of {owner}.")
    return wallet
