"""Callers, and what they may have: the keys with names of one node, with their limits.

Everything that the HTTP side needs of them goes through here.
"""

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec
import structlog

from masa_node.accounts.events import Events
from masa_node.accounts.key_file import KeyWatch
from masa_node.accounts.key_limits import KeyLimits
from masa_node.accounts.keys import KeyRing, NamedKey, check_model
from masa_node.accounts.ledger import read_usage
from masa_node.accounts.report import By, UsageQuery
from masa_node.accounts.sessions import Session, Sessions
from masa_node.accounts.under_way import UnderWay
from masa_node.accounts.usage import DAY_S
from masa_node.chat.errors import MasaError
from masa_node.chat.key_errors import KeyRefused
from masa_node.chat.outcome import Outcome
from masa_node.chat.owner_errors import ChangeRefused
from masa_node.chat.request import OWNER, Privacy, Request

log = structlog.get_logger()


class LetInBy(StrEnum):
    """By what a caller is let in: a session of the console, a key of API_KEY, one with a name, or as none is needed."""

    SESSION = "session"
    API_KEY = "api_key"
    KEY = "key"
    LOCAL = "local"


class Caller(msgspec.Struct, frozen=True):
    """Whoever sent a request. `key` is theirs, of those with names; None: the owner's, or none is needed."""

    key: NamedKey | None = None
    by: LetInBy = LetInBy.LOCAL
    session: Session | None = None

    @property
    def name(self) -> str:
        """As it stands in the ledger and in logs."""
        return self.key.name if self.key is not None else OWNER

    @property
    def is_owner(self) -> bool:
        """May they see what others do?"""
        return self.key is None or self.key.rules.is_admin

    @property
    def may_change(self) -> bool:
        """May they change the node, and end what others asked? Being on its machine is not enough.

        Nor is a key that programs have.
        """
        return self.session is not None or (self.key is not None and self.key.rules.is_admin)

    @property
    def expires_at_unix_s(self) -> int | None:
        """When their session or key is over, if it ever is."""
        if self.session is not None:
            return self.session.expires_at_unix_s
        return self.key.expires_at_unix_s if self.key is not None else None

    def check_may_change(self) -> None:
        """Raises `ChangeRefused`."""
        if not self.may_change:
            raise ChangeRefused(
                "Changing the node takes more than seeing it. Run `masa-node console`, or use a key with --admin."
            )

    def allows(self, model: str) -> bool:
        """May they ask for the model of this name?"""
        return self.key is None or self.key.rules.allows(model)

    @property
    def allows_all(self) -> bool:
        """May they ask for any model?"""
        return self.key is None or not self.key.rules.models

    def check_model(self, *names: str) -> None:
        """May they ask for the model that has these names? Raises `KeyRefused`."""
        if self.key is not None:
            check_model(self.key, names)

    def ceiling(self, privacy: Privacy) -> Privacy:
        """The tighter of this and their key's."""
        return privacy if self.key is None else self.key.rules.ceiling(privacy)

    def check_owner(self) -> None:
        """Raises `KeyRefused`."""
        if not self.is_owner:
            raise KeyRefused(f"The key {self.name!r} may not see this: it takes a key of API_KEY, or one with --admin.")


OWNERS = Caller()  # of every request where no key is needed
KEYS_OWNER = Caller(by=LetInBy.API_KEY)


class Access:
    """The keys with names of one node; `masa_dir` None: there are none, for good. `run` it in a task.

    `ring` holds them. `under_way` are the requests that callers wait for now, `sessions` those of the console; `events`
    go to its pages.
    """

    def __init__(self, masa_dir: Path | None = None, now_unix_s: Callable[[], float] = time.time) -> None:
        self._masa_dir = masa_dir
        self._now_unix_s = now_unix_s
        self.events = Events()
        self.under_way = UnderWay(now_unix_s, self.events)
        self.sessions = Sessions(now_unix_s)
        self._limits = KeyLimits()
        self.ring = KeyRing()
        self._watch = KeyWatch(masa_dir, self.ring) if masa_dir is not None else None

    def start(self) -> None:
        """Read them, before any request is taken. Blocking. Raises `ConfigurationError`."""
        if self._watch is not None:
            self._watch.start()

    async def run(self) -> None:
        """Until cancelled: keeps them those of MASA_DIR."""
        if self._watch is None or self._masa_dir is None:
            return
        if self.ring.has_daily_limits:
            await self._load_used(self._masa_dir)
        await self._watch.run()

    @property
    def version(self) -> int:
        """Another number whenever the owner has changed them."""
        return self.ring.version

    def is_in_force(self, caller: Caller) -> bool:
        """Is neither their key nor their session over, as far as it was told when the key was found?"""
        if caller.session is not None:
            return self.sessions.is_in_force(caller.session)
        return caller.key is None or caller.key.is_in_force(self._now_unix_s())

    @property
    def is_needed(self) -> bool:
        """Was a key ever made, so that callers need one?"""
        return self.ring.is_needed

    def find(self, offered: bytes) -> Caller | None:
        """Whose key this is; None if it is none with a name. Raises `Unauthorized` for one that is over."""
        key = self.ring.find(offered, self._now_unix_s())
        return Caller(key, LetInBy.KEY) if key is not None else None

    def in_session(self, offered: bytes) -> Caller | None:
        """Whose session this is; None if it is none in force."""
        session = self.sessions.find(offered) if self.sessions else None
        return Caller(by=LetInBy.SESSION, session=session) if session is not None else None

    def enter(self, caller: Caller, request: Request) -> None:
        """Their request begins; `leave` once it has ended. Raises `KeyRefused`, `KeySpent`, `KeyLimited`."""
        if caller.key is not None:
            names = (request.alias, request.model) if request.alias else (request.model,)
            now_s = asyncio.get_running_loop().time()
            self._limits.enter(caller.key, names, now_s, self._now_unix_s())

    def may_see(self, key: str, model: str) -> bool:
        """May callers with the key of this name know of the model?"""
        return key == OWNER or self.ring.allows(key, model)

    def undo(self, caller: Caller) -> None:
        """Their request has not begun, after all: another `enter` for it counts once."""
        if caller.key is not None:
            self._limits.undo(caller.key)

    def leave(self, caller: Caller) -> None:
        """Their request has ended."""
        if caller.key is not None:
            self._limits.leave(caller.key)

    def observe(self, outcome: Outcome) -> None:
        """Count its tokens."""
        if outcome.key != OWNER:
            self._limits.observe(outcome, int(self._now_unix_s() // DAY_S))

    async def _load_used(self, masa_dir: Path) -> None:
        """What this day's limits have lost already, before the node was started again."""
        day = int(self._now_unix_s() // DAY_S)
        try:
            lines = await asyncio.to_thread(read_usage, masa_dir, UsageQuery((By.KEY,), since_day=day))
        except MasaError as exc:
            log.warning("keys begin the day with all of their tokens", why=exc.message)
            return
        used = {line.key or "": (line.input_tokens or 0) + (line.output_tokens or 0) for line in lines}
        self._limits.load(day, used)
