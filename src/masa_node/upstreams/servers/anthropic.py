"""Anthropic's hosted API. The caller's `anthropic-version` travels through; the oldest one is set where none came."""

from urllib.parse import quote

import msgspec

from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint, Headers
from masa_node.dialects.fields import TEXT, read
from masa_node.routing.running.steps import readable
from masa_node.upstreams.access import Access
from masa_node.upstreams.servers.listing import MAX_MODELS, ListedModel
from masa_node.upstreams.servers.server import Server, bearer, each, entries, field, get_listing, paths_of, unix_s

DEFAULT_VERSION = "2023-06-01"  # what every SDK but the newest sends; accepted since the API exists
MAX_PAGES = 20
_PAGE_DEPTH = 1  # nothing of the list itself


class _Page(msgspec.Struct):
    has_more: bool = False
    last_id: str | None = None


_PAGE = msgspec.json.Decoder(_Page)
_PATHS = {Endpoint.NATIVE: "/messages", **paths_of("anthropic")}
_CHAT = "/chat/completions"
_CAPABILITIES = ("completion", "tools", "vision")  # in Ollama's words; all Claude models since 3


class AnthropicServer(Server):
    """Anthropic at `api_base` (up to and with `/v1`).

    Its endpoint for OpenAI's clients is used only where the owner named it (`speaks_openai`): it passes over most
    fields that it does not carry, where a translation to its own format carries them, or says that it does not.
    """

    label = "Anthropic"
    probe = Endpoint.ANTHROPIC_MESSAGES

    def __init__(self, api_base: str, key: str, *, speaks_openai: bool = False) -> None:
        self.native = Endpoint.OPENAI_CHAT if speaks_openai else Endpoint.ANTHROPIC_MESSAGES
        chat = {Endpoint.OPENAI_CHAT: _CHAT, Endpoint.NATIVE: _CHAT} if speaks_openai else {}
        super().__init__(api_base, key, {**_PATHS, **chat})

    def credentials(self, endpoint: Endpoint | None = None) -> Headers:
        """See `Server`. At the endpoint for OpenAI's clients the key is sent as those send it."""
        if endpoint is Endpoint.OPENAI_CHAT:
            return bearer(self.key)
        return (("x-api-key", self.key),) if self.key else ()

    async def list_models(self, http: Access) -> list[ModelOffer]:
        """See `Server`. Pages until the last, or one that brings nothing new."""
        headers = (*self.credentials(), ("anthropic-version", DEFAULT_VERSION))
        offers: dict[str, ModelOffer] = {}
        after = ""
        for _ in range(MAX_PAGES):
            listing = await get_listing(http, f"{self.base}/models?limit=1000{after}", headers)
            found = {listed.name: self._offer(listed) async for listed in each(await entries(listing))}
            is_new = not found.keys() <= offers.keys() and len(offers) < MAX_MODELS
            offers |= found
            page = read(await readable(listing.body, _PAGE_DEPTH), _PAGE)
            if page is None or not page.has_more or not page.last_id or not is_new:
                break
            after = f"&after_id={quote(page.last_id, safe='')}"
        return list(offers.values())[:MAX_MODELS]

    def _offer(self, listed: ListedModel) -> ModelOffer:
        created_at_unix_s = unix_s(read(field(listed.entry, "created_at"), TEXT) or "")
        return ModelOffer(
            listed.name,
            self.endpoints(),
            listed.entry,
            owned_by="anthropic",
            created_at_unix_s=created_at_unix_s,
            capabilities=_CAPABILITIES,
        )
