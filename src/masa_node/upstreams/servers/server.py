"""What an `Upstream` must know of the kind of server behind it: the `Server` and readers they share."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec

from masa_node.chat.errors import NotAnAnswer
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import DialectName, Endpoint, Headers, path_of
from masa_node.dialects.fields import ABSENT, FIELDS, read
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers.reader import REDIRECT, read_whole, redirected, said
from masa_node.routing.running.steps import in_steps
from masa_node.upstreams.access import Access
from masa_node.upstreams.http.answer import HttpAnswer
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.servers.listing import ENTRIES_A_TURN, ListedModel, read_models
from masa_node.upstreams.servers.missing import NO_SUCH_PATH, OK, looks_missing

T = TypeVar("T")

# A list of a thousand models with descriptions is below 2 MB (Cloudflare's and OpenRouter's are the longest). While it
# is read there are three copies of it at most; its entries are kept.
MAX_LISTING_BYTES = 8 * 1024 * 1024
MAX_MISSING = 1024  # of models and endpoints; what is forgotten is found out again
# What only a server says that is there: no rights to list, not this way, not now.
_IS_THERE = frozenset({401, 402, 403, 405, 429, 503})
_BAD_REQUEST, _FORBIDDEN = 400, 403
_HOST_REFUSED = (
    ", without a word. So does an Ollama that does not know the host it is asked for: a proxy before it has to send"
    " `Host: localhost:11434`."
)
YEAR_10000_UNIX_S = 253_402_300_800

# Calendar time that can be shown again; some servers give milliseconds, or Go's zero time.
UnixSeconds = Annotated[int, msgspec.Meta(ge=0, lt=YEAR_10000_UNIX_S)]


class NoListing(NotAnAnswer):
    """The server has no list of models; any name may be asked of it."""

    code = "no_listing"


class ListRefused(NoListing):
    """The server is there, and does not give its list of models, or not now. It is asked anyway."""

    code = "list_refused"


class Server(ABC):
    """One kind of LLM server at one address. Most have each endpoint at a path behind `base`, whatever the model, and
    take a bearer's key.

    `label` is what it is called in words ("Ollama"), `native` the endpoint that its own chat endpoint is. `was_seen`:
    did it answer as such a server does, when it was asked what it is? `probe` is the endpoint that an empty request may
    be posted to, None if there is none. `may_be_several`: may each model have a server of its own behind the address,
    so that what one lacks says nothing of the others? An `Upstream` notes the URLs that have `answered` once, no more
    than endpoints, and those `missing`, for which models.
    """

    label: str
    native: Endpoint
    was_seen = False
    may_be_several = False
    probe: Endpoint | None = Endpoint.NATIVE

    def __init__(self, base: str, key: str, paths: Mapping[Endpoint, str]) -> None:
        self.base = base
        self.key = key
        self.paths = paths
        self.answered: set[str] = set()
        self.missing: set[tuple[str | None, str]] = set()

    def lacks(self, url: str | None, model: str) -> bool:
        """Did it say that it has no such endpoint?"""
        return (url, model if self.may_be_several else "") in self.missing

    def found_missing(self, url: str, model: str) -> None:
        """It says so. At most MAX_MISSING are kept."""
        if len(self.missing) >= MAX_MISSING:
            self.missing.clear()
        self.missing.add((url, model if self.may_be_several else ""))

    def target(self, endpoint: Endpoint, model: str) -> str | None:
        """The URL that serves this endpoint, percent-encoded; None if the server does not speak it.

        Raises `ErrorAnswer` for a model's name that no URL can hold.
        """
        del model
        path = self.paths.get(endpoint)
        return self.base + path if path else None

    def credentials(self, endpoint: Endpoint | None = None) -> Headers:
        """Headers with the key that its owner set, for this endpoint, or for lists.

        They go to this server and nowhere else.
        """
        del endpoint
        return bearer(self.key)

    def endpoints(self) -> frozenset[Endpoint]:
        """The endpoints that this server speaks, `NATIVE` included."""
        return frozenset(self.paths)

    def probe_url(self) -> str | None:
        """A URL that an empty request may be posted to, to see whether anything is there; None if there is none."""
        return self.base + self.paths[self.probe] if self.probe is not None else None

    @abstractmethod
    async def list_models(self, http: Access) -> list[ModelOffer]:
        """What it serves now. Raises `ProviderError`; `NoListing` if there is no list to be had."""


def bearer(key: str) -> Headers:
    """The key as most servers take it; nothing for "", which is none."""
    return (("Authorization", f"Bearer {key}"),) if key else ()


def paths_of(vendor: str) -> dict[Endpoint, str]:
    """Where the endpoints that this vendor defined are, at the same paths as here: behind `/v1`, if they have it."""
    return {each: path_of(each).removeprefix("/v1") for each in Endpoint if each.startswith(f"{vendor}.")}


class ModelListing(msgspec.Struct, frozen=True):
    """The body of a list of models; `is_masa` tells that another Masa node, or this one, gave it."""

    body: bytes
    is_masa: bool = False


async def get_listing(http: Access | HttpClient, url: str, headers: Headers) -> ModelListing:
    """A 200 answer. Raises `NoListing` where the path does not exist, `ListRefused`, else `NotAnAnswer`; the last two
    with what the server said of the request itself.
    """
    answer = await http.get(url, headers)
    body = await read_whole(answer, MAX_LISTING_BYTES)
    if answer.status in _IS_THERE:
        raise ListRefused(f"{url} answered {answer.status}{await _words(answer, body)}")
    if answer.status in NO_SUCH_PATH:
        raise NoListing(f"{url} answered {answer.status}.")
    if looks_missing(answer.status, body):
        raise NoListing(f"{url} answered {answer.status}, and that there is no such endpoint.")
    if answer.status != OK:
        raise NotAnAnswer(f"{url} answered {answer.status} instead of a list of models{await _words(answer, body)}")
    if not body.strip():  # MLX's server, on a machine without a cache of models
        raise NoListing(f"{url} answered {answer.status}, with nothing in it.")
    return ModelListing(body, is_masa_node(answer))


async def _words(answer: HttpAnswer, body: bytes) -> str:
    """The rest of a sentence that tells its status: where a redirect leads, what a 403 without a word is about, what a
    proxy says of the way by which the request came. Other words may hold a key, and anybody may ask why a node is not
    ready.
    """
    if answer.status in REDIRECT:
        return redirected(answer)
    if answer.status == _FORBIDDEN and not body.strip():
        return _HOST_REFUSED
    if answer.status != _BAD_REQUEST or not body.lstrip().startswith(b"<"):
        return "."
    return f": {(await said(answer, body, DIALECTS[DialectName.OPENAI]))[0]}"


async def entries(listing: ModelListing, key: str = "data", name: str = "id") -> list[ListedModel]:
    """The models in this listing: see `read_models`.

    Raises `NoListing` for a Masa node that lists nothing: it may serve what it does not list, or be this node itself,
    which a request finds out.
    """
    found = await in_steps(read_models(listing.body, key, name))
    if listing.is_masa and not found:
        raise NoListing("it is a Masa node that lists no models now.")
    return found


async def each(listed: list[T]) -> AsyncIterator[T]:
    """These, one after the other; between them everything else has its turns."""
    for number, model in enumerate(listed, 1):
        yield model
        if number % ENTRIES_A_TURN == 0:
            await asyncio.sleep(0)


def field(entry: bytes | msgspec.Raw, name: str) -> msgspec.Raw:
    """One field of this JSON object; absent where it has none, or is no object."""
    return (read(entry, FIELDS) or {}).get(name, ABSENT)


def value(fields: Mapping[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """What this field holds; None where it is absent, or of another type."""
    return read(fields.get(name, ABSENT), decoder)


def is_masa_node(answer: HttpAnswer) -> bool:
    """Did a Masa node answer, this one or another?"""
    return answer.header("x-masa-node") is not None


def unix_s(text: str) -> int | None:
    """The calendar time that this ISO 8601 text names; None where it names none that could be shown."""
    try:
        seconds = int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < YEAR_10000_UNIX_S else None
