"""Which chain and which contract: a network profile; read from files and settings, never from a request or a peer.

A profile's file is TOML: the fields of `Profile` by their names. `rpc_urls` and `contract` may be left to RPC_URL and
STAKE_CONTRACT.
"""

import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from masa_node.chat.errors import ConfigurationError
from masa_node.staking.ethereum.crypto import ADDRESS_BYTES, Address, parse_address

# ---- profiles ----

# Which chain and which contract: a network profile. Values; read from files by `contract/profile.py`. Pure.


class Shape(StrEnum):
    """Which functions the staking contract has: our own contract's, or only those of the first Masa contract.

    The latter (`stakes`, `minimumStake`) lets a stake be withdrawn at once: it can be borrowed for a block.
    """

    MASA_NODE = "masa-node"
    MASA = "masa"


class BlockTag(StrEnum):
    """At which block the chain is read: the later, the safer from reorganisations, the older the answer."""

    LATEST = "latest"
    SAFE = "safe"
    FINALIZED = "finalized"


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One staking network. URLs are asked in their order. `max_head_age_s` None: the head's age is not looked at.

    `fresh_s` is how long a reading is taken as it is, in seconds.
    """

    name: str
    chain_id: int
    rpc_urls: tuple[str, ...]
    contract: Address
    shape: Shape = Shape.MASA_NODE
    block_tag: BlockTag = BlockTag.LATEST
    max_head_age_s: float | None = 300.0
    fresh_s: float = 300.0
    symbol: str = "MASA"
    decimals: int = 18


# ---- profile files ----

# Network profiles out of files and settings, never from a request or a peer.
#
# A profile's file is TOML: the fields of `Profile` by their names. `rpc_urls` and `contract` may be left to RPC_URL and
# STAKE_CONTRACT.

MAX_FILE_BYTES = 64 * 1024  # a profile has a dozen short lines
MAX_RPC_URLS = 8  # asked one after the other, a second each
MAX_URL_CHARS = 2048
# A safe block of Ethereum is 7 to 13 minutes old, a final one 13 to 20: with room for a chain that stumbles.
USUAL_HEAD_AGE_S = {BlockTag.LATEST: 300.0, BlockTag.SAFE: 1_800.0, BlockTag.FINALIZED: 3_600.0}
MAX_NAMED = 8  # of the known profiles, where an unknown one is asked for
NO_ADDRESS = Address("")
"""The contract of a profile that names none."""

_FILE_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_ZERO = "0x" + "00" * ADDRESS_BYTES

BUILT_IN = {
    # https://chainlist.org/chain/11155111
    "sepolia": Profile("sepolia", 11_155_111, (), NO_ADDRESS, Shape.MASA),
}

_Name = Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,64}\Z")]
_Symbol = Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,16}\Z")]


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """What may stand in a file, and within which bounds. `max_head_age_s` is 0 for None, which TOML has
    not; left out, it is the usual of the block tag.
    """

    name: _Name = ""
    chain_id: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]  # TOML's integers have 64 bits
    rpc_urls: Annotated[list[str], Meta(max_length=MAX_RPC_URLS)] = []
    contract: str = ""
    shape: Shape = Shape.MASA_NODE
    block_tag: BlockTag = BlockTag.LATEST
    max_head_age_s: Annotated[float, Meta(ge=0, le=7 * 86_400)] | None = None
    fresh_s: Annotated[float, Meta(ge=0.1, le=3600)] = 300.0  # as long as a stale reading may serve at most
    symbol: _Symbol = "MASA"
    decimals: Annotated[int, Meta(ge=0, le=36)] = 18


def load_profile(named: str, folder: Path) -> Profile:
    """The profile of this name: a built-in one, a path to a .toml file, or the name of `folder`/NAME.toml.

    Raises `ConfigurationError` naming the file and the field. What the profile leaves to settings is missing from it:
    `with_overrides` puts it in.
    """
    built_in = BUILT_IN.get(named)
    if built_in is not None:
        return built_in
    if named.endswith(".toml") or "/" in named or "\\" in named:
        return _read(Path(named).expanduser())
    found = {path.stem for path in folder.glob("*.toml")}
    if not _FILE_NAME.match(named) or named not in found:
        known = ", ".join(sorted({*BUILT_IN, *found})[:MAX_NAMED])
        raise ConfigurationError(
            f"STAKE_NETWORK: there is no network {named[:64]!r}. Known are: {known}. A path to a .toml file does too."
        )
    return _read(folder / f"{named}.toml")


def with_overrides(profile: Profile, rpc_urls: tuple[str, ...], contract: str) -> Profile:
    """The profile with what RPC_URL and STAKE_CONTRACT say in its place, whole and ready for use.

    Empty ones change nothing. Raises `ConfigurationError` when one is not valid, or when one is needed.
    """
    urls = _checked_urls(rpc_urls, "RPC_URL") or profile.rpc_urls
    address = _checked_address(contract, "STAKE_CONTRACT") or profile.contract
    if not urls:
        raise ConfigurationError(
            f"STAKE_NETWORK={profile.name} needs RPC_URL: the URL of a JSON-RPC server of chain {profile.chain_id}; "
            "several, comma-separated, are asked in their order."
        )
    if not address:
        raise ConfigurationError(
            f"STAKE_NETWORK={profile.name} needs the address of the staking contract on chain {profile.chain_id}: set "
            "STAKE_CONTRACT, or `contract` in the profile's file."
        )
    return msgspec.structs.replace(profile, rpc_urls=urls, contract=address)


def write_profile(profile: Profile, path: Path) -> None:
    """Write it so that `load_profile` reads the same. The file is its owner's alone: RPC URLs hold keys."""
    fields = msgspec.to_builtins(profile)
    fields["max_head_age_s"] = profile.max_head_age_s or 0.0
    text = "".join(f"{name} = {_toml(value)}\n" for name, value in fields.items())
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    aside.touch(mode=0o600, exist_ok=False)
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def _read(path: Path) -> Profile:
    table = _table(path)
    kinds = get_type_hints(_File, include_extras=True)
    for name, value in table.items():
        if name not in kinds:
            raise ConfigurationError(
                f"{path}: {name[:64]!r} is not a field of a profile. There are: {', '.join(kinds)}."
            )
        try:
            msgspec.convert(value, kinds[name])
        except msgspec.ValidationError as exc:
            raise ConfigurationError(f"{path}: {name} is not valid. {exc}.") from exc
    if "chain_id" not in table:
        raise ConfigurationError(f"{path}: chain_id is missing. It says which chain the stakes are on.")
    read = msgspec.convert(table, _File)
    return Profile(
        name=read.name or path.stem,
        chain_id=read.chain_id,
        rpc_urls=_checked_urls(read.rpc_urls, f"{path}: rpc_urls"),
        contract=_checked_address(read.contract, f"{path}: contract"),
        shape=read.shape,
        block_tag=read.block_tag,
        max_head_age_s=(USUAL_HEAD_AGE_S[read.block_tag] if read.max_head_age_s is None else read.max_head_age_s)
        or None,
        fresh_s=read.fresh_s,
        symbol=read.symbol,
        decimals=read.decimals,
    )


def _table(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigurationError(f"{path} is larger than {MAX_FILE_BYTES} bytes: is it a network profile?")
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as exc:
        raise ConfigurationError(f"The network profile {path} cannot be read: {exc.strerror or exc}.") from exc
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigurationError(f"{path} is not a TOML file: {exc}.") from exc


def _checked_urls(urls: tuple[str, ...] | list[str], where: str) -> tuple[str, ...]:
    if len(urls) > MAX_RPC_URLS:
        raise ConfigurationError(f"{where}: {len(urls)} URLs; the limit is {MAX_RPC_URLS}.")
    for number, url in enumerate(urls, 1):
        if not _is_url(url):  # which is not shown: it may hold a key
            raise ConfigurationError(
                f"{where}: URL {number} is not valid. It begins with http:// or https://, names a host, and is "
                "plain ASCII without spaces."
            )
    return tuple(urls)


def _is_url(url: str) -> bool:
    if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _checked_address(text: str, where: str) -> Address:
    if not text:
        return NO_ADDRESS
    try:
        address = parse_address(text)
    except ValueError as exc:
        raise ConfigurationError(f"{where}: {exc}") from exc
    if address == _ZERO:
        raise ConfigurationError(f"{where}: the zero address is nobody's contract.")
    return address


def _toml(value: object) -> str:
    """A string, a number, or a list of strings. JSON's escapes are TOML's too."""
    return msgspec.json.encode(value).decode()
