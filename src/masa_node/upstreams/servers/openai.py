"""OpenAI and every server compatible with it: llama.cpp, vLLM, LM Studio, SGLang, transformers, hosted ones."""

import msgspec

from masa_node.chat.offer import AnyName, ModelFacts, ModelOffer
from masa_node.chat.request import Endpoint, Headers
from masa_node.dialects.fields import ABSENT, FIELDS, LIST, TEXT, TOKENS, read
from masa_node.upstreams.access import Access
from masa_node.upstreams.http.urls import is_azure
from masa_node.upstreams.servers.listing import MAX_MODELS, ListedModel
from masa_node.upstreams.servers.server import (
    ListRefused,
    ModelListing,
    NoListing,
    Server,
    UnixSeconds,
    bearer,
    each,
    entries,
    field,
    get_listing,
    paths_of,
    value,
)

ANY_LABEL = "an OpenAI-compatible server"
_PATHS = {Endpoint.NATIVE: "/chat/completions", **paths_of("openai")}
_WITH_ANTHROPIC = {**_PATHS, **paths_of("anthropic")}


_UNIX_S: msgspec.json.Decoder[int] = msgspec.json.Decoder(UnixSeconds)
_MILLION, _BILLION = 1_000_000, 1_000_000_000
MAX_ALIASES = 64  # of one model; llama.cpp has those of its command line
MAX_TOLD = 64  # of what a model takes; OpenRouter names some twenty fields


class OpenAiServer(Server):
    """A server whose API begins at one of `bases` (`<it>/chat/completions`); the first that lists models is the one."""

    native = Endpoint.OPENAI_CHAT
    may_be_several = True  # llama-swap, vLLM's router, LiteLLM

    def __init__(self, bases: tuple[str, ...], key: str, *, label: str = ANY_LABEL) -> None:
        super().__init__(next((base for base in bases if base.endswith("/v1")), bases[0]), key, _PATHS)
        self.label = label
        self._bases: tuple[str, ...] = bases

    def speak_anthropic(self) -> None:
        """It has shown that it also serves `/v1/messages`, as llama.cpp and vLLM do."""
        self.paths = _WITH_ANTHROPIC
        self.was_seen = True

    def credentials(self, endpoint: Endpoint | None = None) -> Headers:
        """See `Server`."""
        del endpoint
        return (("api-key", self.key),) if self.key and is_azure(self.base) else bearer(self.key)

    async def list_models(self, http: Access) -> list[ModelOffer]:
        """See `Server`."""
        listed = await entries(await self._listing(http))
        offers = [offer async for model in each(listed) for offer in self._offers(model)][:MAX_MODELS]
        if len(listed) == 1 and _answers_any_name(listed[0]):
            return [msgspec.structs.replace(offer, any_name=AnyName.SEEN) for offer in offers]
        return offers

    async def _listing(self, http: Access) -> ModelListing:
        """The list at the first base that has one; that base is the server's from then on."""
        missing: list[str] = []
        for base in self._bases:
            try:
                listing = await get_listing(http, f"{base}/models", self.credentials())
            except ListRefused:
                self._settle_at(base)
                raise
            except NoListing as exc:
                missing.append(exc.message)
            else:
                self._settle_at(base)
                return listing
        raise NoListing(" ".join(missing))

    def _settle_at(self, base: str) -> None:
        self.base = base
        self._bases = (base,)

    def _offers(self, listed: ListedModel) -> list[ModelOffer]:
        """One for each name of the model: llama.cpp serves a model under its aliases too."""
        entry = read(listed.entry, FIELDS) or {}
        meta = value(entry, "meta", FIELDS) or {}  # llama.cpp tells how many parameters a model has, and its size
        # as vLLM calls it, LM Studio and OpenRouter, llama.cpp
        lengths = [value(entry, name, TOKENS) for name in ("max_model_len", "context_length")]
        lengths += [value(meta, name, TOKENS) for name in ("n_ctx", "n_ctx_train")]
        parameter_size = _in_words(value(meta, "n_params", TOKENS) or 0)
        offer = ModelOffer(
            model=listed.name,
            endpoints=self.endpoints(),
            listing=listed.entry,
            owned_by=value(entry, "owned_by", TEXT),
            created_at_unix_s=value(entry, "created", _UNIX_S),
            context_tokens=next(filter(None, lengths), None),
            capabilities=_capabilities(entry),
            facts=ModelFacts(parameter_size=parameter_size, size_bytes=value(meta, "size", TOKENS) or 0),
        )
        aliases = [read(raw, TEXT) for raw in (value(entry, "aliases", LIST) or [])[:MAX_ALIASES]]
        return [offer, *(msgspec.structs.replace(offer, model=alias) for alias in aliases if alias)]


def _capabilities(entry: dict[str, msgspec.Raw]) -> tuple[str, ...]:
    """In Ollama's words, where the entry tells what the model takes: as llama.cpp and OpenRouter do. llama.cpp's models
    all take tools; it does not say so.
    """
    taken = _texts(value(entry, "architecture", FIELDS) or {}, "input_modalities")
    if not taken:
        return ()
    fields = _texts(entry, "supported_parameters") or {"tools"}
    found = {"tools": "tools" in fields, "vision": "image" in taken, "audio": "audio" in taken}
    found["thinking"] = "reasoning" in fields
    return ("completion", *(word for word, is_so in found.items() if is_so))


def _texts(fields: dict[str, msgspec.Raw], name: str) -> set[str | None]:
    return {read(raw, TEXT) for raw in (value(fields, name, LIST) or [])[:MAX_TOLD]}


def _in_words(parameters: int) -> str:
    """As Ollama writes it: 134.52M, 8.0B."""
    if parameters >= _BILLION:
        return f"{parameters / _BILLION:.1f}B"
    return f"{parameters / _MILLION:.2f}M" if parameters else ""


def _answers_any_name(listed: ListedModel) -> bool:
    """llama.cpp with one model answers whatever it is asked for; as a router of several (`status`) it does not."""
    return read(field(listed.entry, "owned_by"), TEXT) == "llamacpp" and field(listed.entry, "status") is ABSENT
