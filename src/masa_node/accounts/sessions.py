"""Sessions of the console: whoever may give the node commands in a terminal may change it in a browser for a while.

`masa-node console` leaves the hash of a token for the node, and shows the token in a link. The page exchanges it, once,
for a session. Both have 256 bits of chance, are kept as SHA-256 only, and in memory only: a node that is started again
knows none of them.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

import msgspec

from masa_node.chat.errors import Unauthorized

TOKEN_LASTS_S = 60
SESSION_LASTS_S = 12 * 3_600
MAX_TOKENS = 16  # shown and not used yet, of one minute; the oldest go
MAX_SESSIONS = 64  # of one owner's browsers; the oldest go
PREFIX = b"masa-session-"
_SECRET_BYTES = 32  # 256 bits
_ID_BYTES = 8
_NO_HASH = "0" * 64


class Session(msgspec.Struct, frozen=True):
    """One session as it is kept: `id` finds it, `hash` is the SHA-256 of its whole text, in hexadecimal digits."""

    id: str
    hash: str
    expires_at_unix_s: int


class Sessions:
    """Those of one node, and the tokens for new ones. At most MAX_SESSIONS and MAX_TOKENS."""

    def __init__(self, now_unix_s: Callable[[], float] = time.time) -> None:
        self._now_unix_s = now_unix_s
        self._tokens: dict[str, float] = {}  # until when each hash is good, the oldest first
        self._sessions: dict[str, Session] = {}  # by id, the oldest first

    def __bool__(self) -> bool:
        return bool(self._sessions)

    def offer(self, token_hash: str, made_at_unix_s: float) -> bool:
        """A token with this hash was shown to the owner at that time. False if that is too long ago."""
        now_unix_s = self._now_unix_s()
        until_unix_s = min(made_at_unix_s, now_unix_s) + TOKEN_LASTS_S
        if until_unix_s <= now_unix_s:
            return False
        self._tokens[token_hash] = until_unix_s
        while len(self._tokens) > MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return True

    def exchange(self, token: str) -> tuple[str, Session]:
        """A session for this token, which is used up; its text is given once. Raises `Unauthorized`."""
        offered, now_unix_s = hash_of(token.encode()), self._now_unix_s()
        # Every one is compared: the time taken says nothing about how much of any was right.
        fitting = [known for known in self._tokens if hmac.compare_digest(known, offered)]
        is_good = any(self._tokens.pop(known) > now_unix_s for known in fitting)
        if not is_good:
            raise Unauthorized(
                f"This link was used before, is older than {TOKEN_LASTS_S} s, or from before the node was started. "
                "Run `masa-node console` for a new one."
            )
        session_id = secrets.token_hex(_ID_BYTES)
        text = PREFIX.decode() + f"{session_id}-{secrets.token_urlsafe(_SECRET_BYTES)}"
        session = Session(session_id, hash_of(text.encode()), int(now_unix_s) + SESSION_LASTS_S)
        self._sessions[session_id] = session
        while len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return text, session

    def find(self, offered: bytes) -> Session | None:
        """The session that this is, if it is one in force."""
        if not offered.startswith(PREFIX):
            return None
        session_id = offered[len(PREFIX) :].partition(b"-")[0].decode("latin-1")
        session = self._sessions.get(session_id)
        is_it = hmac.compare_digest(hash_of(offered), session.hash if session is not None else _NO_HASH)
        return session if is_it and session is not None and self.is_in_force(session) else None

    def is_in_force(self, session: Session) -> bool:
        """Neither ended nor over."""
        return session.id in self._sessions and session.expires_at_unix_s > self._now_unix_s()

    def end(self, session: Session) -> None:
        """Its browser has signed out. Idempotent."""
        self._sessions.pop(session.id, None)


def hash_of(secret: bytes) -> str:
    """The SHA-256 of a token or a session, in hexadecimal digits."""
    return hashlib.sha256(secret).hexdigest()
