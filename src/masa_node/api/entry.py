"""What the head of a request says once it is let in; kept with the head, as the next on its connection is often equal.

It depends on nothing but the head, the keys, and what `guard` and `limits` hold; whoever uses it sees to it that those
are still the same. A refusal is never kept, nor an id that the node made.
"""

import re
import secrets
from collections.abc import Iterator

import msgspec

from masa_node.accounts.access import Caller
from masa_node.api.guard import Guard
from masa_node.api.http1.request import HeaderPairs
from masa_node.api.paths import Place
from masa_node.chat.request import FORM_ENDPOINTS, Endpoint, Headers, Privacy, RaceRule, RequestId

_IDS_AT_ONCE = 64
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class ChatLimits(msgspec.Struct, frozen=True):
    """Bounds of one chat request: bytes and seconds. `race` and `privacy` hold where a request does not say.

    `max_form_bytes` holds where a body may be a form, if it is more. `asks_usage`: are OpenAI's streams asked for their
    token counts, where the caller does not?
    """

    max_body_bytes: int
    first_piece_timeout_s: float
    idle_timeout_s: float
    race: RaceRule = RaceRule()
    privacy: Privacy = Privacy.ANY
    begin_timeout_s: float = 0.0
    max_form_bytes: int = 0
    asks_usage: bool = False

    def body_bytes_at(self, endpoint: Endpoint) -> int:
        """The largest body there: one with a file in it may be larger."""
        return max(self.max_body_bytes, self.max_form_bytes) if endpoint in FORM_ENDPOINTS else self.max_body_bytes


class Terms(msgspec.Struct, frozen=True):
    """How a chat request wants to be served, within `limits`. `headers` and `query` go up to the LLM.

    `is_packed`: does it say that its body is compressed? `key` is the name of its caller's.
    """

    limits: ChatLimits
    endpoint: Endpoint
    race: RaceRule
    privacy: Privacy
    may_translate: bool
    headers: Headers
    query: str
    is_packed: bool
    key: str


class Entry(msgspec.Struct):
    """A request that `guard` let in. `origin` is the page that asks, `own_id` the id that the caller gave it.

    `caller` is whose key it had when the keys had the number `keys_version`. `is_admitted`: was it let in by a key, or
    because nobody needs one? `terms` are filled in by the chat endpoints.
    """

    guard: Guard
    origin: bytes | None
    is_admitted: bool
    place: Place
    own_id: RequestId | None
    caller: Caller
    keys_version: int
    terms: Terms | None = None


def own_id_of(headers: HeaderPairs) -> RequestId | None:
    """The caller's own X-Request-Id if it is a short plain word."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return RequestId(value.decode())
    return None


def _new_ids() -> Iterator[RequestId]:
    while True:
        digits = secrets.token_hex(8 * _IDS_AT_ONCE)
        yield from (RequestId(digits[at : at + 16]) for at in range(0, len(digits), 16))


_ids = _new_ids()


def new_id() -> RequestId:
    """An id for a request that came without one."""
    return next(_ids)
