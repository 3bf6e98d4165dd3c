"""OpenAI and every server compatible with it: llama.cpp, vLLM, LM Studio, SGLang, transformers, hosted ones."""

from urllib.parse import urlsplit

import msgspec

from masa_node.chat.ask import Door, Headers
from masa_node.chat.offer import NO_FACTS, ModelFacts, ModelOffer
from masa_node.dialects.fields import TEXT, Tokens, read
from masa_node.upstreams.http import HttpClient
from masa_node.upstreams.listing import ListedModel
from masa_node.upstreams.server import UnixSeconds, entries, get_listing


class _Meta(msgspec.Struct):
    n_ctx: Tokens | None = None
    n_ctx_train: Tokens | None = None
    n_params: msgspec.Raw = msgspec.Raw(b"")
    size: msgspec.Raw = msgspec.Raw(b"")


class _Entry(msgspec.Struct):
    """One entry of `/v1/models`; context length under the names that vLLM, LM Studio/OpenRouter and llama.cpp use."""

    created: msgspec.Raw = msgspec.Raw(b"")
    owned_by: msgspec.Raw = msgspec.Raw(b"")
    max_model_len: msgspec.Raw = msgspec.Raw(b"")
    context_length: msgspec.Raw = msgspec.Raw(b"")
    meta: msgspec.Raw = msgspec.Raw(b"")
    aliases: msgspec.Raw = msgspec.Raw(b"")


_ENTRY = msgspec.json.Decoder(_Entry)
_META = msgspec.json.Decoder(_Meta)
_TOKENS: msgspec.json.Decoder[int] = msgspec.json.Decoder(Tokens)
_UNIX_S: msgspec.json.Decoder[int] = msgspec.json.Decoder(UnixSeconds)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_MILLION, _BILLION = 1_000_000, 1_000_000_000
MAX_ALIASES = 64  # of one model; llama.cpp has those of its command line


class OpenAiServer:
    """A server whose chat endpoint is `chat_url`; the sibling paths are derived from `api_base` (up to and with `/v1`).

    `speaks_anthropic` tells that it also serves `/v1/messages`, as llama.cpp and vLLM do.
    """

    native = Door.OPENAI_CHAT

    def __init__(self, api_base: str, chat_url: str, key: str, *, label: str, speaks_anthropic: bool) -> None:
        self.label = label
        self._api_base = api_base
        self._key = key
        self._targets = {
            Door.NATIVE: chat_url,
            Door.OPENAI_CHAT: chat_url,
            Door.OPENAI_COMPLETIONS: f"{api_base}/completions",
            Door.OPENAI_RESPONSES: f"{api_base}/responses",
            Door.OPENAI_EMBEDDINGS: f"{api_base}/embeddings",
        }
        if speaks_anthropic:
            self._targets[Door.ANTHROPIC_MESSAGES] = f"{api_base}/messages"
            self._targets[Door.ANTHROPIC_COUNT_TOKENS] = f"{api_base}/messages/count_tokens"

    def target(self, door: Door, model: str) -> str | None:
        """See `Server`."""
        del model
        return self._targets.get(door)

    def credentials(self) -> Headers:
        """See `Server`."""
        return (("Authorization", f"Bearer {self._key}"),) if self._key else ()

    def doors(self) -> frozenset[Door]:
        """See `Server`."""
        return frozenset(self._targets)

    async def list_models(self, http: HttpClient) -> list[ModelOffer]:
        """See `Server`."""
        listing = await get_listing(http, f"{self._api_base}/models", self.credentials())
        return [offer for listed in entries(listing) for offer in self._offers(listed)]

    def _offers(self, listed: ListedModel) -> list[ModelOffer]:
        """One for each name of the model: llama.cpp serves a model under its aliases too."""
        entry = read(listed.entry, _ENTRY) or _Entry()
        offer = ModelOffer(
            model=listed.name,
            doors=self.doors(),
            listing=listed.entry,
            owned_by=read(entry.owned_by, TEXT),
            created_at_unix_s=read(entry.created, _UNIX_S),
            context_tokens=_context_tokens(entry),
            facts=_facts(entry),
        )
        aliases = [read(raw, TEXT) for raw in (read(entry.aliases, _RAWS) or [])[:MAX_ALIASES]]
        return [offer, *(msgspec.structs.replace(offer, model=alias) for alias in aliases if alias)]


def _context_tokens(entry: _Entry) -> int | None:
    given = read(entry.max_model_len, _TOKENS) or read(entry.context_length, _TOKENS)
    meta = read(entry.meta, _META)
    return given or (meta.n_ctx or meta.n_ctx_train if meta is not None else None) or None


def _facts(entry: _Entry) -> ModelFacts:
    """llama.cpp tells how many parameters a model has, and its size."""
    meta = read(entry.meta, _META)
    if meta is None:
        return NO_FACTS
    return ModelFacts(
        parameter_size=_in_words(read(meta.n_params, _TOKENS) or 0), size_bytes=read(meta.size, _TOKENS) or 0
    )


def _in_words(parameters: int) -> str:
    """As Ollama writes it: 134.52M, 8.0B."""
    if parameters >= _BILLION:
        return f"{parameters / _BILLION:.1f}B"
    return f"{parameters / _MILLION:.2f}M" if parameters else ""


def api_base_of(url: str) -> str:
    """The address up to and with `/v1` for a base URL with or without it."""
    url = url.rstrip("/")
    return url if urlsplit(url).path.endswith(("/v1", "/v2", "/v3", "/v4")) else f"{url}/v1"
