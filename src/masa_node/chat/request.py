"""What a caller asks: the frozen `Ask`, the doors it may come through and the dialects spoken there."""

from enum import StrEnum
from typing import NewType

import msgspec

RequestId = NewType("RequestId", str)

Headers = tuple[tuple[str, str], ...]


class DialectName(StrEnum):
    """The wire formats of the field."""

    OPENAI = "openai"
    OPENAI_RESPONSES = "openai.responses"
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"
    CLOUDFLARE = "cloudflare"


class Door(StrEnum):
    """What is asked for, and in which format. An upstream has a path for each door that it serves.

    `NATIVE` is the product's own door: the body is in whatever format the LLM's own chat endpoint takes.
    """

    NATIVE = "native"
    OPENAI_CHAT = "openai.chat"
    OPENAI_COMPLETIONS = "openai.completions"
    OPENAI_RESPONSES = "openai.responses"
    OPENAI_EMBEDDINGS = "openai.embeddings"
    ANTHROPIC_MESSAGES = "anthropic.messages"
    ANTHROPIC_COUNT_TOKENS = "anthropic.count_tokens"
    OLLAMA_CHAT = "ollama.chat"
    OLLAMA_GENERATE = "ollama.generate"
    OLLAMA_SHOW = "ollama.show"
    OLLAMA_EMBED = "ollama.embed"
    OLLAMA_EMBEDDINGS = "ollama.embeddings"
    CLOUDFLARE_RUN = "cloudflare.run"


DIALECT_OF_DOOR: dict[Door, DialectName] = {
    Door.NATIVE: DialectName.OPENAI,  # only for errors that arise before the LLM is known: the most widely read shape
    Door.OPENAI_CHAT: DialectName.OPENAI,
    Door.OPENAI_COMPLETIONS: DialectName.OPENAI,
    Door.OPENAI_RESPONSES: DialectName.OPENAI_RESPONSES,
    Door.OPENAI_EMBEDDINGS: DialectName.OPENAI,
    Door.ANTHROPIC_MESSAGES: DialectName.ANTHROPIC,
    Door.ANTHROPIC_COUNT_TOKENS: DialectName.ANTHROPIC,
    Door.OLLAMA_CHAT: DialectName.OLLAMA,
    Door.OLLAMA_GENERATE: DialectName.OLLAMA,
    Door.OLLAMA_SHOW: DialectName.OLLAMA,
    Door.OLLAMA_EMBED: DialectName.OLLAMA,
    Door.OLLAMA_EMBEDDINGS: DialectName.OLLAMA,
    Door.CLOUDFLARE_RUN: DialectName.CLOUDFLARE,
}


# Where each door is on the HTTP side; the first path is the one that messages name.
DOOR_PATHS: dict[Door, tuple[str, ...]] = {
    Door.NATIVE: ("/api/v1/chat", "/v1/api/chat"),
    Door.OPENAI_CHAT: ("/v1/chat/completions",),
    Door.OPENAI_COMPLETIONS: ("/v1/completions",),
    Door.OPENAI_RESPONSES: ("/v1/responses",),
    Door.OPENAI_EMBEDDINGS: ("/v1/embeddings",),
    Door.ANTHROPIC_MESSAGES: ("/v1/messages",),
    Door.ANTHROPIC_COUNT_TOKENS: ("/v1/messages/count_tokens",),
    Door.OLLAMA_CHAT: ("/api/chat",),
    Door.OLLAMA_GENERATE: ("/api/generate",),
    Door.OLLAMA_SHOW: ("/api/show",),
    Door.OLLAMA_EMBED: ("/api/embed",),
    Door.OLLAMA_EMBEDDINGS: ("/api/embeddings",),
}


# Where the model's name is in the path, not in the body: with its slashes as they are, or encoded (`@cf%2Fmeta%2Fx`).
RUN_PATH = "/client/v4/accounts/{account}/ai/run/{model}"


def path_of(door: Door) -> str:
    """The path that messages name for this door."""
    return RUN_PATH if door is Door.CLOUDFLARE_RUN else DOOR_PATHS[door][0]


# The doors through which the same conversation could be had, in another format.
CONVERSATION_DOORS = (Door.OPENAI_CHAT, Door.ANTHROPIC_MESSAGES, Door.OLLAMA_CHAT, Door.NATIVE)


class Privacy(StrEnum):
    """How far a request may travel."""

    LOCAL = "local"  # never leaves this node (its owner's own LLM servers, hosted ones included, may get it)
    TRUSTED = "trusted"  # only to peers that the owner marked as trusted
    ANY = "any"


# A word of `x-masa-via` beside nodes' own: a peer asked for this, and whoever reads it asks no peer again.
VIA_PEER = "peer"


class RaceMode(StrEnum):
    """Which peers are asked at once."""

    ALL = "all"
    HEDGE = "hedge"


class RaceRule(msgspec.Struct, frozen=True):
    """`width` is the most peers that are asked at the same time for one request; None: the node's own bound.

    One that failed is replaced.
    """

    mode: RaceMode = RaceMode.ALL
    width: int | None = None


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One request, exactly as it came: `body` is never rewritten.

    `headers` are the caller's headers that may travel on (never a credential), names in lower case.
    `first_piece_deadline_s` is on the event loop's monotonic clock: until then somebody must have answered, or shown
    that it works. `idle_timeout_s` is the longest silence after such a sign, and between two pieces.
    `query` is the query of the caller's URL, as far as it may travel on.
    `begin_deadline_s`, on the same clock, is when the first piece has to be there whatever signs there were; the later
    of the two deadlines counts. `asked_by` is the peer whose ask it is; None: the owner's own. `may_translate`: may it
    be served in another format, where nobody speaks that of its door?
    """

    request_id: RequestId
    door: Door
    model: str
    wants_stream: bool
    body: bytes
    headers: Headers
    first_piece_deadline_s: float
    idle_timeout_s: float
    privacy: Privacy = Privacy.ANY
    race: RaceRule = RaceRule()
    asked_by: str | None = None
    begin_deadline_s: float = 0.0
    may_translate: bool = True
    query: str = ""
