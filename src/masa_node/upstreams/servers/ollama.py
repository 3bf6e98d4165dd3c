"""Ollama: three dialects at one address, models from `/api/tags`, context lengths from `/api/show`."""

import msgspec

from masa_node.chat.errors import ProviderError
from masa_node.chat.offer import ModelFacts, ModelOffer
from masa_node.chat.request import Endpoint
from masa_node.dialects.fields import FIELDS, LIST, TEXT, TOKENS, read
from masa_node.routing.answers.reader import read_whole
from masa_node.routing.running.steps import readable
from masa_node.upstreams.access import Access
from masa_node.upstreams.servers.listing import ListedModel
from masa_node.upstreams.servers.server import Server, each, entries, get_listing, paths_of, unix_s, value

_PATHS = {
    **paths_of("ollama"),
    Endpoint.OPENAI_CHAT: "/v1/chat/completions",
    Endpoint.OPENAI_COMPLETIONS: "/v1/completions",
    Endpoint.OPENAI_RESPONSES: "/v1/responses",
    Endpoint.OPENAI_EMBEDDINGS: "/v1/embeddings",
    Endpoint.OPENAI_IMAGES: "/v1/images/generations",
    Endpoint.ANTHROPIC_MESSAGES: "/v1/messages",
}
# Each new model costs one /api/show; the rest keep an unknown context length until the next refresh.
MAX_SHOWN_A_REFRESH = 32
MAX_SHOW_BYTES = 4 * 1024 * 1024  # licences and the names of some thousand tensors take 300 kB
_SHOW_DEPTH = 2  # `model_info` and `capabilities`, and nothing inside them


class _Shown(msgspec.Struct, frozen=True):
    """What is kept of what Ollama shows of a model."""

    context_tokens: int | None = None
    capabilities: tuple[str, ...] = ()


# A line of `ollama list`: what tells one build of a model from another (its name, where a server gives no digest).
_Build = tuple[str, ModelOffer]

_MAX_CAPABILITIES = 16
_MAX_WORD_CHARS = 64


class OllamaServer(Server):
    """Ollama at `base` (no trailing slash); `native` is the endpoint of the chat endpoint that its owner named."""

    label = "Ollama"
    probe = Endpoint.OLLAMA_CHAT

    def __init__(self, base: str, key: str, native: Endpoint = Endpoint.OLLAMA_CHAT) -> None:
        super().__init__(base, key, {**_PATHS, Endpoint.NATIVE: _PATHS[native]})
        self.native = native
        self.details: dict[str, _Shown] = {}  # by the build; no larger than the list of models

    async def list_models(self, http: Access) -> list[ModelOffer]:
        """See `Server`."""
        listing = await get_listing(http, f"{self.base}/api/tags", self.credentials())
        endpoints = self.endpoints()
        builds = [_build(listed, endpoints) async for listed in each(await entries(listing, "models", "name"))]
        await self._learn(http, builds)
        return [self._with_details(build, offer) async for build, offer in each(builds)]

    async def running(self, http: Access) -> list[msgspec.Raw]:
        """The models that it holds in memory now, as it tells of them. Raises `ProviderError`."""
        listing = await get_listing(http, f"{self.base}/api/ps", self.credentials())
        listed = await entries(listing, "models", "name")
        return [msgspec.Raw(each.entry) for each in listed if each.entry != b"{}"]

    async def _learn(self, http: Access, builds: list[_Build]) -> None:
        known = self.details
        self.details = {build: known[build] for build, _ in builds if build in known}
        unknown = [(build, offer.model) for build, offer in builds if build not in known]
        for build, model in unknown[:MAX_SHOWN_A_REFRESH]:
            try:
                self.details[build] = await self._show(http, model)
            except ProviderError:
                return  # the list itself is good; the next refresh asks again

    def _with_details(self, build: str, offer: ModelOffer) -> ModelOffer:
        known = self.details.get(build, _Shown())
        return msgspec.structs.replace(offer, context_tokens=known.context_tokens, capabilities=known.capabilities)

    async def _show(self, http: Access, model: str) -> _Shown:
        headers = (*self.credentials(), ("Content-Type", "application/json"))
        answer = await http.post(f"{self.base}/api/show", headers, msgspec.json.encode({"model": model}))
        show = read(await readable(await read_whole(answer, MAX_SHOW_BYTES), _SHOW_DEPTH), FIELDS) or {}
        info = value(show, "model_info", FIELDS) or {}
        lengths = [read(raw, TOKENS) for key, raw in info.items() if key.endswith(".context_length")]
        words = [read(raw, TEXT) for raw in (value(show, "capabilities", LIST) or [])[:_MAX_CAPABILITIES]]
        return _Shown(
            next((length for length in lengths if length), None),
            tuple(word[:_MAX_WORD_CHARS] for word in words if word),
        )


def _build(listed: ListedModel, endpoints: frozenset[Endpoint]) -> _Build:
    """The offer's `listing` is the entry itself if Ollama's clients can read it."""
    entry = read(listed.entry, FIELDS) or {}
    details = value(entry, "details", FIELDS) or {}
    facts = ModelFacts(
        family=_word(details, "family"),
        parameter_size=_word(details, "parameter_size"),
        quantization=_word(details, "quantization_level"),
        size_bytes=value(entry, "size", TOKENS) or 0,
        format=_word(details, "format"),
    )
    offer = ModelOffer(
        model=listed.name,
        endpoints=endpoints,
        listing=listed.entry if value(entry, "name", TEXT) == listed.name else b"{}",
        owned_by="library",
        created_at_unix_s=unix_s(value(entry, "modified_at", TEXT) or ""),
        facts=facts,
    )
    return value(entry, "digest", TEXT) or listed.name, offer


def _word(details: dict[str, msgspec.Raw], name: str) -> str:
    return (value(details, name, TEXT) or "")[:_MAX_WORD_CHARS]
