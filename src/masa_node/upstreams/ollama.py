"""Ollama: three dialects at one address, models from `/api/tags`, context lengths from `/api/show`."""

import msgspec

from masa_node.chat.ask import Door, Headers
from masa_node.chat.errors import ProviderError
from masa_node.chat.offer import ModelOffer
from masa_node.dialects.fields import ABSENT, TEXT, Tokens, read
from masa_node.routing.answers import read_whole
from masa_node.upstreams.http import HttpClient
from masa_node.upstreams.listing import ListedModel
from masa_node.upstreams.server import MAX_LISTING_BYTES, entries, get_listing, unix_s

_PATHS = {
    Door.OLLAMA_CHAT: "/api/chat",
    Door.OLLAMA_GENERATE: "/api/generate",
    Door.OLLAMA_SHOW: "/api/show",
    Door.OLLAMA_EMBED: "/api/embed",
    Door.OLLAMA_EMBEDDINGS: "/api/embeddings",
    Door.OPENAI_CHAT: "/v1/chat/completions",
    Door.OPENAI_COMPLETIONS: "/v1/completions",
    Door.OPENAI_RESPONSES: "/v1/responses",
    Door.OPENAI_EMBEDDINGS: "/v1/embeddings",
    Door.ANTHROPIC_MESSAGES: "/v1/messages",
}
# Each new model costs one /api/show; the rest keep an unknown context length until the next refresh.
MAX_SHOWN_A_REFRESH = 32


class _Entry(msgspec.Struct):
    name: msgspec.Raw = ABSENT
    digest: msgspec.Raw = ABSENT
    modified_at: msgspec.Raw = ABSENT


class _Tag(msgspec.Struct, frozen=True):
    """One line of `ollama list`. `listing` is the entry itself if Ollama's clients can read it, else `{}`."""

    name: str
    digest: str
    modified_at: str
    listing: bytes

    @property
    def key(self) -> str:
        """What tells one build of a model from another; the name where a server gives no digest."""
        return self.digest or self.name


class _Show(msgspec.Struct):
    model_info: dict[str, msgspec.Raw] = {}


_ENTRY = msgspec.json.Decoder(_Entry)
_SHOW = msgspec.json.Decoder(_Show)
_TOKENS: msgspec.json.Decoder[int] = msgspec.json.Decoder(Tokens)


class OllamaServer:
    """Ollama at `base` (no trailing slash); `native` is the door of the chat endpoint that its owner named."""

    label = "Ollama"

    def __init__(self, base: str, key: str, native: Door = Door.OLLAMA_CHAT) -> None:
        self._base = base
        self._key = key
        self.native = native
        self._context_tokens: dict[str, int | None] = {}  # by `_Tag.key`; no larger than the list of models

    def target(self, door: Door, model: str) -> str | None:
        """See `Server`."""
        del model
        path = _PATHS.get(self.native if door is Door.NATIVE else door)
        return self._base + path if path else None

    def credentials(self) -> Headers:
        """See `Server`."""
        return (("Authorization", f"Bearer {self._key}"),) if self._key else ()

    def doors(self) -> frozenset[Door]:
        """See `Server`."""
        return frozenset({*_PATHS, Door.NATIVE})

    async def list_models(self, http: HttpClient) -> list[ModelOffer]:
        """See `Server`."""
        listing = await get_listing(http, f"{self._base}/api/tags", self.credentials())
        tags = [_tag(listed) for listed in entries(listing, "models", "name")]
        await self._learn_contexts(http, tags)
        doors = self.doors()
        return [
            ModelOffer(
                model=tag.name,
                doors=doors,
                listing=tag.listing,
                owned_by="library",
                created_at_unix_s=unix_s(tag.modified_at),
                context_tokens=self._context_tokens.get(tag.key),
            )
            for tag in tags
        ]

    async def running(self, http: HttpClient) -> list[msgspec.Raw]:
        """The models that it holds in memory now, as it tells of them. Raises `ProviderError`."""
        listing = await get_listing(http, f"{self._base}/api/ps", self.credentials())
        listed = entries(listing, "models", "name")
        return [msgspec.Raw(each.entry) for each in listed if each.entry != b"{}"]

    async def _learn_contexts(self, http: HttpClient, tags: list[_Tag]) -> None:
        known = self._context_tokens
        self._context_tokens = {tag.key: known[tag.key] for tag in tags if tag.key in known}
        unknown = [tag for tag in tags if tag.key not in known]
        for tag in unknown[:MAX_SHOWN_A_REFRESH]:
            try:
                self._context_tokens[tag.key] = await self._context_of(http, tag.name)
            except ProviderError:
                return  # the list itself is good; the next refresh asks again

    async def _context_of(self, http: HttpClient, model: str) -> int | None:
        headers = (*self.credentials(), ("Content-Type", "application/json"))
        answer = await http.post(f"{self._base}/api/show", headers, msgspec.json.encode({"model": model}))
        show = read(await read_whole(answer, MAX_LISTING_BYTES), _SHOW)
        if show is None:
            return None
        lengths = [read(raw, _TOKENS) for key, raw in show.model_info.items() if key.endswith(".context_length")]
        return next((length for length in lengths if length), None)


def _tag(listed: ListedModel) -> _Tag:
    entry = read(listed.entry, _ENTRY) or _Entry()
    is_usual = read(entry.name, TEXT) == listed.name
    digest, modified_at = read(entry.digest, TEXT) or "", read(entry.modified_at, TEXT) or ""
    return _Tag(listed.name, digest, modified_at, listed.entry if is_usual else b"{}")
