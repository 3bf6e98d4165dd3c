"""What a caller asks: the frozen `Request`, the endpoints it may come through and the dialects spoken there."""

from collections.abc import Collection
from enum import StrEnum
from math import inf
from typing import ClassVar, NewType, Self, cast

import msgspec

RequestId = NewType("RequestId", str)

OWNER = "owner"  # the name of the keys in API_KEY, and of every caller where no key is needed

Headers = tuple[tuple[str, str], ...]


class DialectName(str):
    """The name of a wire format. `dialects/registry.py` has them all; here are those that other code speaks of.

    As a `NewType` with members: to a type checker a type of its own, at run time a plain `str`, which any codec writes.
    """

    __slots__ = ()

    OPENAI: ClassVar["DialectName"]
    OPENAI_RESPONSES: ClassVar["DialectName"]
    ANTHROPIC: ClassVar["DialectName"]
    OLLAMA: ClassVar["DialectName"]
    CLOUDFLARE: ClassVar["DialectName"]
    GEMINI: ClassVar["DialectName"]  # of callers only: Google's servers speak OpenAI's, too
    OPENAI_JSON: ClassVar["DialectName"]  # of endpoints that answer with an object of their own, whatever is in it
    OPENAI_AUDIO: ClassVar["DialectName"]  # of those that answer with sound, text or an object

    def __new__(cls, name: str) -> Self:
        """The name itself."""
        return cast("Self", name)


DialectName.OPENAI = DialectName("openai")
DialectName.OPENAI_RESPONSES = DialectName("openai.responses")
DialectName.ANTHROPIC = DialectName("anthropic")
DialectName.OLLAMA = DialectName("ollama")
DialectName.CLOUDFLARE = DialectName("cloudflare")
DialectName.GEMINI = DialectName("gemini")
DialectName.OPENAI_JSON = DialectName("openai.json")
DialectName.OPENAI_AUDIO = DialectName("openai.audio")

# Those that a conversation with a server may be in.
CHAT_DIALECTS = (
    DialectName.OPENAI,
    DialectName.OPENAI_RESPONSES,
    DialectName.ANTHROPIC,
    DialectName.OLLAMA,
    DialectName.CLOUDFLARE,
)


class Endpoint(StrEnum):
    """What is asked for, and in which format. An upstream has a path for each endpoint that it serves.

    `NATIVE` is the product's own endpoint: a request through it is in the format of one of the others, and goes on as
    one through that. Only for a lone server of which nothing is known it stays what it is, in that server's format.
    """

    NATIVE = "native"
    OPENAI_CHAT = "openai.chat"
    OPENAI_COMPLETIONS = "openai.completions"
    OPENAI_RESPONSES = "openai.responses"
    OPENAI_EMBEDDINGS = "openai.embeddings"
    OPENAI_RERANK = "openai.rerank"
    OPENAI_MODERATIONS = "openai.moderations"
    OPENAI_IMAGES = "openai.images"
    OPENAI_IMAGE_EDITS = "openai.images.edits"
    OPENAI_IMAGE_VARIATIONS = "openai.images.variations"
    OPENAI_SPEECH = "openai.audio.speech"
    OPENAI_TRANSCRIPTIONS = "openai.audio.transcriptions"
    OPENAI_TRANSLATIONS = "openai.audio.translations"
    ANTHROPIC_MESSAGES = "anthropic.messages"
    ANTHROPIC_COUNT_TOKENS = "anthropic.count_tokens"
    OLLAMA_CHAT = "ollama.chat"
    OLLAMA_GENERATE = "ollama.generate"
    OLLAMA_SHOW = "ollama.show"
    OLLAMA_EMBED = "ollama.embed"
    OLLAMA_EMBEDDINGS = "ollama.embeddings"
    CLOUDFLARE_RUN = "cloudflare.run"
    GEMINI_GENERATE = "gemini.generate"
    GEMINI_STREAM = "gemini.stream"
    GEMINI_COUNT_TOKENS = "gemini.count_tokens"
    GEMINI_EMBED = "gemini.embed"
    GEMINI_BATCH_EMBED = "gemini.batch_embed"


# Where the model's name is in the path, not in the body: with its slashes as they are, or encoded (`@cf%2Fmeta%2Fx`).
RUN_PATH = "/client/v4/accounts/{account}/ai/run/{model}"
AT_GOOGLES = "/v1beta/models/{model}:"


class EndpointFacts(msgspec.Struct, frozen=True):
    """The format of an endpoint, how it is described, and its paths on the HTTP side: messages name the first one."""

    dialect: DialectName
    about: str
    paths: tuple[str, ...]


ENDPOINTS: dict[Endpoint, EndpointFacts] = {
    Endpoint.NATIVE: EndpointFacts(
        DialectName.OLLAMA,  # of errors that arise before a format is chosen, and of what could be in any
        "Chat in any format: that of `X-Masa-Format`, else the body's, else the servers' own or Ollama's",
        ("/api/v1/chat", "/v1/api/chat"),
    ),
    # Without /v1, too: llama.cpp, LocalAI and LiteLLM have them there, for base URLs that end with the port.
    Endpoint.OPENAI_CHAT: EndpointFacts(
        DialectName.OPENAI, "OpenAI chat completions", ("/v1/chat/completions", "/chat/completions")
    ),
    Endpoint.OPENAI_COMPLETIONS: EndpointFacts(
        DialectName.OPENAI,
        "OpenAI completions (the older kind, from a prompt)",
        ("/v1/completions", "/completions"),
    ),
    Endpoint.OPENAI_RESPONSES: EndpointFacts(
        DialectName.OPENAI_RESPONSES, "OpenAI responses", ("/v1/responses", "/responses")
    ),
    Endpoint.OPENAI_EMBEDDINGS: EndpointFacts(
        DialectName.OPENAI, "OpenAI embeddings", ("/v1/embeddings", "/embeddings")
    ),
    Endpoint.OPENAI_RERANK: EndpointFacts(
        DialectName.OPENAI_JSON,
        "Documents by how well they fit a query, as Cohere, Jina, vLLM and llama.cpp have it",
        ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking", "/v2/rerank"),
    ),
    Endpoint.OPENAI_MODERATIONS: EndpointFacts(DialectName.OPENAI_JSON, "OpenAI moderations", ("/v1/moderations",)),
    Endpoint.OPENAI_IMAGES: EndpointFacts(
        DialectName.OPENAI_JSON, "OpenAI pictures from a prompt", ("/v1/images/generations",)
    ),
    Endpoint.OPENAI_IMAGE_EDITS: EndpointFacts(
        DialectName.OPENAI_JSON, "OpenAI pictures from pictures and a prompt; a form", ("/v1/images/edits",)
    ),
    Endpoint.OPENAI_IMAGE_VARIATIONS: EndpointFacts(
        DialectName.OPENAI_JSON, "OpenAI variations of a picture; a form", ("/v1/images/variations",)
    ),
    Endpoint.OPENAI_SPEECH: EndpointFacts(DialectName.OPENAI_AUDIO, "OpenAI speech from a text", ("/v1/audio/speech",)),
    Endpoint.OPENAI_TRANSCRIPTIONS: EndpointFacts(
        DialectName.OPENAI_AUDIO, "OpenAI text from speech; a form", ("/v1/audio/transcriptions",)
    ),
    Endpoint.OPENAI_TRANSLATIONS: EndpointFacts(
        DialectName.OPENAI_AUDIO, "OpenAI English text from speech; a form", ("/v1/audio/translations",)
    ),
    Endpoint.ANTHROPIC_MESSAGES: EndpointFacts(
        DialectName.ANTHROPIC, "Anthropic messages", ("/v1/messages", "/messages")
    ),
    Endpoint.ANTHROPIC_COUNT_TOKENS: EndpointFacts(
        DialectName.ANTHROPIC,
        "How many tokens an Anthropic message would take",
        ("/v1/messages/count_tokens", "/messages/count_tokens"),
    ),
    Endpoint.OLLAMA_CHAT: EndpointFacts(DialectName.OLLAMA, "Ollama chat (streams unless told not to)", ("/api/chat",)),
    Endpoint.OLLAMA_GENERATE: EndpointFacts(
        DialectName.OLLAMA, "Ollama generate (streams unless told not to)", ("/api/generate",)
    ),
    Endpoint.OLLAMA_SHOW: EndpointFacts(
        DialectName.OLLAMA, "What is known of a model, in Ollama's shape", ("/api/show",)
    ),
    Endpoint.OLLAMA_EMBED: EndpointFacts(DialectName.OLLAMA, "Ollama embeddings", ("/api/embed",)),
    Endpoint.OLLAMA_EMBEDDINGS: EndpointFacts(
        DialectName.OLLAMA, "Ollama embeddings (the older kind, from a prompt)", ("/api/embeddings",)
    ),
    Endpoint.CLOUDFLARE_RUN: EndpointFacts(
        DialectName.CLOUDFLARE, "Cloudflare Workers AI; `@cf/...` or encoded (`@cf%2F...`), any account", (RUN_PATH,)
    ),
    Endpoint.GEMINI_GENERATE: EndpointFacts(
        DialectName.GEMINI,
        "Google's Gemini API, translated for whichever server has the model",
        (AT_GOOGLES + "generateContent",),
    ),
    Endpoint.GEMINI_STREAM: EndpointFacts(
        DialectName.GEMINI,
        "The same as a stream of server-sent events (`?alt=sse`)",
        (AT_GOOGLES + "streamGenerateContent",),
    ),
    Endpoint.GEMINI_COUNT_TOKENS: EndpointFacts(
        DialectName.GEMINI, "About how many tokens a request of Gemini's would take", (AT_GOOGLES + "countTokens",)
    ),
    Endpoint.GEMINI_EMBED: EndpointFacts(
        DialectName.GEMINI, "Embeddings in Gemini's format, of one text", (AT_GOOGLES + "embedContent",)
    ),
    Endpoint.GEMINI_BATCH_EMBED: EndpointFacts(
        DialectName.GEMINI, "The same of several texts", (AT_GOOGLES + "batchEmbedContents",)
    ),
}
DIALECT_OF_ENDPOINT = {endpoint: facts.dialect for endpoint, facts in ENDPOINTS.items()}
# What of OpenAI's neighbourhood passes through as it is where a server has it, and is never translated.
PASSED_ENDPOINTS = frozenset(
    endpoint
    for endpoint, dialect in DIALECT_OF_ENDPOINT.items()
    if dialect in (DialectName.OPENAI_JSON, DialectName.OPENAI_AUDIO)
)
# Where the body may be a form with a file in it.
FORM_ENDPOINTS = frozenset(
    {
        Endpoint.OPENAI_IMAGE_EDITS,
        Endpoint.OPENAI_IMAGE_VARIATIONS,
        Endpoint.OPENAI_TRANSCRIPTIONS,
        Endpoint.OPENAI_TRANSLATIONS,
    }
)
# Those whose paths are the same for every model.
ENDPOINT_PATHS: dict[Endpoint, tuple[str, ...]] = {
    endpoint: facts.paths for endpoint, facts in ENDPOINTS.items() if "{model}" not in facts.paths[0]
}


def path_of(endpoint: Endpoint) -> str:
    """The path that messages name for this endpoint."""
    return ENDPOINTS[endpoint].paths[0]


# The endpoints through which the same conversation could be had, in another format.
CONVERSATION_ENDPOINTS = (Endpoint.OPENAI_CHAT, Endpoint.ANTHROPIC_MESSAGES, Endpoint.OLLAMA_CHAT, Endpoint.NATIVE)


def chat_paths(endpoints: Collection[Endpoint]) -> str:
    """In words for messages: by which of these a conversation could be had in another format."""
    paths = (f"POST {path_of(endpoint)}" for endpoint in CONVERSATION_ENDPOINTS if endpoint in endpoints)
    return ", ".join(paths) or "no endpoint of this node"


_EMBEDDINGS = (
    Endpoint.OPENAI_EMBEDDINGS,
    Endpoint.OLLAMA_EMBED,
    Endpoint.OLLAMA_EMBEDDINGS,
    Endpoint.GEMINI_EMBED,
    Endpoint.GEMINI_BATCH_EMBED,
)


def other_ways(asked: Endpoint, endpoints: Collection[Endpoint]) -> str:
    """A sentence for messages: by which of these a model does what it cannot be asked through `asked`, or can chat."""
    same = [f"POST {path_of(each)}" for each in _EMBEDDINGS if each in endpoints] if asked in _EMBEDDINGS else []
    if same:
        return f"It gives embeddings through: {', '.join(same)}."
    return f"A chat with it goes through: {chat_paths(endpoints)}."


class Privacy(StrEnum):
    """How far a request may travel."""

    LOCAL = "local"  # never leaves this node (its owner's own LLM servers, hosted ones included, may get it)
    TRUSTED = "trusted"  # only to peers that the owner marked as trusted
    ANY = "any"


# A word of `headers.VIA` beside nodes' own: a peer asked for this, and whoever reads it asks no peer again.
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


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request, as it came: but for the name of an alias, `body` is never rewritten.

    `headers` are the caller's headers that may travel on (never a credential), names in lower case.
    `first_piece_deadline_s` is on the event loop's monotonic clock: until then somebody must have answered, or shown
    that it works. `idle_timeout_s` is the longest silence after such a sign, and between two pieces. `query` is the
    query of the caller's URL, as far as it may travel on. `begin_deadline_s`, on the same clock, is when the first
    piece has to be there whatever signs there were; the later of the two deadlines counts. `requester` is the peer
    whose request it is; None: the owner's own. That peer gives up at `given_up_s`, on the same clock, if it was told of
    no sign by then. `may_translate`: may it be served in another format, where nobody speaks that of its endpoint?
    `key` is the name of the key that its caller had, of this node's own callers. `alias` is the name that the caller
    wrote, where it is one of `model`.
    `translates_beside`: also where some provider speaks it, so that all that serve the model take part.
    `asks_usage`: did the node add the question how many tokens a stream takes?
    """

    request_id: RequestId
    endpoint: Endpoint
    model: str
    wants_stream: bool
    body: bytes
    headers: Headers
    first_piece_deadline_s: float
    idle_timeout_s: float
    privacy: Privacy = Privacy.ANY
    race: RaceRule = RaceRule()
    requester: str | None = None
    begin_deadline_s: float = 0.0
    may_translate: bool = True
    query: str = ""
    given_up_s: float = inf
    alias: str = ""
    translates_beside: bool = False
    key: str = OWNER
    asks_usage: bool = False
