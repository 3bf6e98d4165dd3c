"""Cloudflare Workers AI: the model is the last part of the URL; models come from the account's models search."""

import re
from urllib.parse import quote

import msgspec

from masa_node.chat.errors import ErrorAnswer
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint
from masa_node.dialects.fields import LIST, TEXT, TOKENS, read
from masa_node.upstreams.access import Access
from masa_node.upstreams.servers.listing import MAX_MODELS, ListedModel
from masa_node.upstreams.servers.server import ModelListing, NoListing, Server, each, entries, field, get_listing

PER_PAGE = 100
MAX_PAGES = 50  # a server that ignores `page` would be asked for ever
_CHAT_TASKS = frozenset({"Text Generation", "", None})
_API = "https://api.cloudflare.com/client/v4"
_ACCOUNT = re.compile(r"/accounts/([^/]+)/ai/run$|gateway\.ai\.cloudflare\.com/v1/([^/]+)/[^/]+/workers-ai$")


_DOTS = (".", "..")  # the segments that RFC 3986 takes out of a path, encoded or not
_MODEL = "{model}"  # stands for its name, behind the run URL
_PATHS = {
    Endpoint.NATIVE: _MODEL,
    Endpoint.CLOUDFLARE_RUN: _MODEL,
    Endpoint.OPENAI_CHAT: "/v1/chat/completions",
    Endpoint.OPENAI_EMBEDDINGS: "/v1/embeddings",
    Endpoint.OPENAI_RESPONSES: "/v1/responses",
}


class CloudflareServer(Server):
    """Workers AI whose run URL is `run_url`, plain or of an AI gateway.

    `api_url` is the base of the API that lists models (LLM_CF_API_URL); "" derives it from `run_url`.
    """

    label = "Cloudflare Workers AI"
    native = Endpoint.CLOUDFLARE_RUN
    probe = None  # a model's name is a part of every URL

    def __init__(self, run_url: str, key: str, api_url: str = "") -> None:
        super().__init__(run_url.rstrip("/"), key, _PATHS)
        self.search_url = _search_url(self.base, api_url.rstrip("/"))

    def target(self, endpoint: Endpoint, model: str) -> str | None:
        """See `Server`."""
        path = self.paths.get(endpoint)
        if path != _MODEL:
            return self.base.removesuffix("/run") + path if path else None
        if model in _DOTS:
            raise ErrorAnswer(f"{model!r} cannot be a model's name there.", status=404)
        # One path segment, whatever the name holds; Cloudflare's own SDK encodes it in the same way.
        return f"{self.base}/{quote(model, safe='@')}"

    async def list_models(self, http: Access) -> list[ModelOffer]:
        """See `Server`. Pages until one brings nothing new."""
        if self.search_url is None:
            raise NoListing("no account in LLM_CF_URL, so its models cannot be listed. Set LLM_CF_API_URL.")
        offers: dict[str, ModelOffer | None] = {}
        for page in range(1, MAX_PAGES + 1):
            url = f"{self.search_url}?per_page={PER_PAGE}&page={page}"
            listing = await get_listing(http, url, self.credentials())
            if page > 1:  # an empty one is the end, also of what a Masa node lists
                listing = ModelListing(listing.body)
            listed = await entries(listing, "result", "name")
            found = {model.name: self._offer(model) async for model in each(listed)}
            if found.keys() <= offers.keys() or len(offers) >= MAX_MODELS:
                break
            offers |= found
        return [offer for offer in offers.values() if offer is not None][:MAX_MODELS]

    def _offer(self, listed: ListedModel) -> ModelOffer | None:
        """None for a model that does not chat."""
        if read(field(field(listed.entry, "task"), "name"), TEXT) not in _CHAT_TASKS:
            return None
        tokens = _context_tokens(field(listed.entry, "properties"))
        return ModelOffer(listed.name, self.endpoints(), listed.entry, owned_by="cloudflare", context_tokens=tokens)


def _context_tokens(properties: msgspec.Raw) -> int | None:
    named = [
        each for each in read(properties, LIST) or [] if read(field(each, "property_id"), TEXT) == "context_window"
    ]
    lengths = (read(bytes(field(each, "value")).strip(b'"'), TOKENS) for each in named)
    return next(filter(None, lengths), None)


def _search_url(run_url: str, api_url: str) -> str | None:
    match = _ACCOUNT.search(run_url)
    if match is None or "/accounts/" in api_url:
        return f"{api_url}/ai/models/search" if api_url else None
    own_api = run_url[: match.start()] if match[1] else _API
    return f"{api_url or own_api}/accounts/{match[1] or match[2]}/ai/models/search"
