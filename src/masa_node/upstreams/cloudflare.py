"""Cloudflare Workers AI: the model is the last part of the URL; models come from the account's models search."""

import re
from urllib.parse import quote

import msgspec

from masa_node.chat.ask import Door, Headers
from masa_node.chat.offer import ModelOffer
from masa_node.dialects.fields import read
from masa_node.upstreams.http import HttpClient
from masa_node.upstreams.server import NoListing, entries, get_json

PER_PAGE = 100
MAX_PAGES = 50  # a server that ignores `page` would be asked for ever (REAL-WORLD: servers)
_CHAT_TASKS = frozenset({"Text Generation", ""})
_API = "https://api.cloudflare.com/client/v4"
_ACCOUNT = re.compile(r"/accounts/([^/]+)/ai/run$|gateway\.ai\.cloudflare\.com/v1/([^/]+)/[^/]+/workers-ai$")


class _Task(msgspec.Struct):
    name: str = ""


class _Property(msgspec.Struct):
    property_id: str = ""
    value: msgspec.Raw = msgspec.Raw(b"")


class _Entry(msgspec.Struct):
    name: str
    task: _Task | None = None
    properties: list[_Property] = []


_ENTRY = msgspec.json.Decoder(_Entry)
_INT_OR_TEXT = msgspec.json.Decoder(int | str)
_OPENAI_PATHS = {
    Door.OPENAI_CHAT: "/v1/chat/completions",
    Door.OPENAI_EMBEDDINGS: "/v1/embeddings",
    Door.OPENAI_RESPONSES: "/v1/responses",
}
_DOORS = frozenset({Door.NATIVE, Door.CLOUDFLARE_RUN, *_OPENAI_PATHS})


class CloudflareServer:
    """Workers AI whose run URL is `run_url`, plain or of an AI gateway.

    `api_url` is the base of the API that lists models (LLM_CF_API_URL); "" derives it from `run_url`.
    """

    label = "Cloudflare Workers AI"
    native = Door.CLOUDFLARE_RUN

    def __init__(self, run_url: str, key: str, api_url: str = "") -> None:
        self._run_url = run_url.rstrip("/")
        self._key = key
        self._openai_base = self._run_url.removesuffix("/run")
        self._search_url = _search_url(self._run_url, api_url.rstrip("/"))

    def target(self, door: Door, model: str) -> str | None:
        """See `Server`."""
        if door in _OPENAI_PATHS:
            return self._openai_base + _OPENAI_PATHS[door]
        # One path segment, whatever the name holds; Cloudflare's own SDK encodes it in the same way.
        return f"{self._run_url}/{quote(model, safe='@')}" if door in _DOORS else None

    def credentials(self) -> Headers:
        """See `Server`."""
        return (("Authorization", f"Bearer {self._key}"),) if self._key else ()

    def doors(self) -> frozenset[Door]:
        """See `Server`."""
        return _DOORS

    async def list_models(self, http: HttpClient) -> list[ModelOffer]:
        """See `Server`. Pages until one brings nothing new."""
        if self._search_url is None:
            raise NoListing("no account in LLM_CF_URL, so its models cannot be listed. Set LLM_CF_API_URL.")
        offers: dict[str, ModelOffer] = {}
        for page in range(1, MAX_PAGES + 1):
            body = await get_json(http, f"{self._search_url}?per_page={PER_PAGE}&page={page}", self.credentials())
            found = entries(body, "result")
            new = [offer for raw in found if (offer := _offer(raw)) is not None and offer.model not in offers]
            offers |= {offer.model: offer for offer in new}
            if not new:
                break
        return list(offers.values())


def _offer(raw: msgspec.Raw) -> ModelOffer | None:
    entry = read(raw, _ENTRY)
    if entry is None or (entry.task is not None and entry.task.name not in _CHAT_TASKS):
        return None
    return ModelOffer(entry.name, _DOORS, bytes(raw), owned_by="cloudflare", context_tokens=_context_tokens(entry))


def _context_tokens(entry: _Entry) -> int | None:
    values = [read(item.value, _INT_OR_TEXT) for item in entry.properties if item.property_id == "context_window"]
    texts = [str(value) for value in values if value is not None]
    return next((int(text) for text in texts if text.isdecimal()), None)


def _search_url(run_url: str, api_url: str) -> str | None:
    match = _ACCOUNT.search(run_url)
    if match is None or "/accounts/" in api_url:
        return f"{api_url}/ai/models/search" if api_url else None
    own_api = run_url[: match.start()] if match[1] else _API
    return f"{api_url or own_api}/accounts/{match[1] or match[2]}/ai/models/search"
