"""Keys with names: what one is, what it allows, and which of them a caller holds. Pure, but for chance.

A key is `masa-<id>-<secret>`. The id finds the row, so that one comparison, in constant time, is enough. The secret has
256 bits of chance. Nobody finds it by trying, so its plain SHA-256 may be kept. A slow hash, which protects what
people make up, would only cost every request.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from masa_node.chat.errors import ConfigurationError, Unauthorized
from masa_node.chat.key_errors import KeyRefused
from masa_node.chat.request import OWNER, Privacy

PREFIX = "masa"
MAX_KEYS = 256  # in force: a team's; each may have a label in metrics
MAX_RETIRED = 256  # revoked ones that are still known, so that their callers are told so; the oldest go
MAX_PATTERNS = 64
_ID_BYTES = 4
_SECRET_BYTES = 32  # 256 bits
_NO_HASH = "0" * 64

KeyName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")]
UnixTime = Annotated[int, Meta(ge=0, le=2**40)]


class KeyRules(msgspec.Struct, frozen=True):
    """What a key allows; None and () are no limit. `models` are names, in which `*` stands for anything.

    `rpm`: requests a minute. `privacy` is a ceiling beside PRIVACY. `is_admin`: it may see what others do, as the keys
    in API_KEY, and end that and change the node, as they may not.
    """

    models: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=MAX_PATTERNS)
    ] = ()
    rpm: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    tokens_per_day: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    concurrent: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    privacy: Literal["local", "trusted"] | None = None
    is_admin: bool = False

    def allows(self, *names: str) -> bool:
        """Does it allow a model that has these names, of which one may be an alias?"""
        return not self.models or any(_fits(name, pattern) for name in names for pattern in self.models)

    def ceiling(self, privacy: Privacy) -> Privacy:
        """The tighter of this and the key's own."""
        if self.privacy is None or privacy is Privacy.LOCAL:
            return privacy
        return Privacy(self.privacy)


class NamedKey(msgspec.Struct, frozen=True):
    """One key as it is kept: `hash` is the SHA-256 of the whole key, in hexadecimal digits."""

    name: KeyName
    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{8}\Z")]
    hash: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    made_at_unix_s: UnixTime
    rules: KeyRules = KeyRules()
    expires_at_unix_s: UnixTime | None = None
    revoked_at_unix_s: UnixTime | None = None

    def is_in_force(self, now_unix_s: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at_unix_s is None and not self.has_expired(now_unix_s)

    def has_expired(self, now_unix_s: float) -> bool:
        """Is its time over?"""
        return self.expires_at_unix_s is not None and self.expires_at_unix_s <= now_unix_s


class KeyRing:
    """The keys that the node takes. None of them: no key was ever made, and `is_needed` is False.

    Once one was made, a key is needed, also after the last one was revoked: ending a key must not let everybody in.
    """

    def __init__(self, keys: Sequence[NamedKey] | None = None) -> None:
        self.is_needed = False
        self.version = 0  # counts the changes
        self._by_id: dict[str, NamedKey] = {}
        self._rules: dict[str, KeyRules] = {}  # by name, of those that were not revoked
        self.replace(keys)

    def replace(self, keys: Sequence[NamedKey] | None) -> None:
        """The owner has changed them. With None, those known until now end, and a key is still needed if it was."""
        self.is_needed = self.is_needed or keys is not None
        self.version += 1
        self._by_id = {key.id: key for key in keys or ()}
        self._rules = {key.name: key.rules for key in keys or () if key.revoked_at_unix_s is None}

    def allows(self, name: str, model: str) -> bool:
        """Does the key of this name allow the model? Not if it was revoked meanwhile."""
        rules = self._rules.get(name)
        return rules is not None and rules.allows(model)

    @property
    def has_daily_limits(self) -> bool:
        """Does any key have a limit of tokens a day?"""
        return any(key.rules.tokens_per_day is not None for key in self._by_id.values())

    def find(self, offered: bytes, now_unix_s: float) -> NamedKey | None:
        """The key that this is; None if it is none of these. Raises `Unauthorized` for one that is over."""
        if not self._by_id:
            return None
        text = offered.decode("latin-1")
        parts = text.split("-", 2)
        key = self._by_id.get(parts[1]) if len(parts) == 3 and parts[0] == PREFIX else None  # noqa: PLR2004 - its form
        if not hmac.compare_digest(_hash(offered), key.hash if key is not None else _NO_HASH) or key is None:
            return None
        if key.revoked_at_unix_s is not None:
            raise Unauthorized(f"The key {key.name!r} was revoked. Ask the node's owner for another.")
        if key.has_expired(now_unix_s):
            raise Unauthorized(f"The key {key.name!r} has expired. Ask the node's owner for another.")
        return key


def check_model(key: NamedKey, names: Sequence[str]) -> None:
    """Does it allow the model that has these names? Raises `KeyRefused`."""
    if not key.rules.allows(*names):
        allowed = ", ".join(key.rules.models)
        raise KeyRefused(f"The key {key.name!r} does not allow the model {names[0]!r}, only: {allowed}.")


def made_key(
    keys: Sequence[NamedKey], name: str, rules: KeyRules, now_unix_s: float, lasts_s: int | None = None
) -> tuple[str, list[NamedKey]]:
    """A new key, and all of them with it. Its text is to be shown once, for it is not kept.

    Raises `ConfigurationError` for a name that is taken or not usable, or beyond MAX_KEYS.
    """
    if name.lower() == OWNER:
        raise ConfigurationError(f"{name!r} is the name of the keys in API_KEY. Choose another.")
    in_force = [key for key in keys if key.is_in_force(now_unix_s)]
    if any(key.name == name for key in in_force):
        raise ConfigurationError(f"There is a key {name!r} already. Revoke it first: `masa-node keys revoke {name}`.")
    if len(in_force) >= MAX_KEYS:
        raise ConfigurationError(f"{MAX_KEYS} keys are in force, and no more are taken. Revoke some.")
    ids = {key.id for key in keys}
    key_id = next(new for new in iter(lambda: secrets.token_hex(_ID_BYTES), "") if new not in ids)
    text = f"{PREFIX}-{key_id}-{secrets.token_urlsafe(_SECRET_BYTES)}"
    now = int(now_unix_s)
    expires = now + lasts_s if lasts_s is not None else None
    try:
        msgspec.convert(name, KeyName)
    except msgspec.ValidationError as exc:
        says = "It has up to 32 letters, digits, '.', '_' or '-', and begins with a letter or digit."
        raise ConfigurationError(f"{name!r} cannot be a key's name. {says}") from exc
    try:
        made = msgspec.convert(
            msgspec.to_builtins(NamedKey(name, key_id, _hash(text.encode()), now, rules, expires)), NamedKey
        )
    except msgspec.ValidationError as exc:
        raise ConfigurationError(f"{name!r} with these limits cannot be made: {exc}.") from exc
    retired = [key for key in keys if not key.is_in_force(now_unix_s)][-MAX_RETIRED:]
    return text, [*retired, *in_force, made]


def revoked_key(keys: Sequence[NamedKey], name: str, now_unix_s: float) -> list[NamedKey]:
    """All of them, with the one of this name revoked. Raises `ConfigurationError` when none in force has it."""
    if not any(key.name == name and key.is_in_force(now_unix_s) for key in keys):
        raise ConfigurationError(f"There is no key {name!r} in force. `masa-node keys list` shows all.")
    at = int(now_unix_s)
    return [
        msgspec.structs.replace(key, revoked_at_unix_s=at) if key.name == name and key.is_in_force(now_unix_s) else key
        for key in keys
    ]


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _fits(name: str, pattern: str) -> bool:
    """`*` alone has a meaning: names of models may hold brackets and question marks."""
    return fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]"))
