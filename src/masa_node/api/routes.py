"""The one table of GET endpoints, and what answers them: lists of models, versions, health, metrics, the description.

To add one: a row in `GETS`, with what makes its answer.
"""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from masa_node.api import models
from masa_node.api.aliasing import Aliasing, alias_header, alias_words, renamed
from masa_node.api.families import Offers, not_in_family, offers_for
from masa_node.api.openapi import GetEndpoint, describe
from masa_node.api.paths import AT_CLOUDFLARES, SEARCH_PATH
from masa_node.chat.errors import ProviderAway, UnknownModel
from masa_node.chat.request import DialectName
from masa_node.chat.statuses import status_of_kind
from masa_node.dialects.peek import check_model
from masa_node.routing.catalog import Catalog
from masa_node.version import __version__

# The Ollama release whose API this one speaks: clients refuse versions that look too old for a feature they use.
OLLAMA_API_VERSION = "0.32.15"


class Readiness(msgspec.Struct, frozen=True):
    """`GET /readyz`. `why` says why nothing can be asked, and what to do; None if something can."""

    ready: bool
    upstreams: list[dict[str, object]]
    why: str | None


class NodeView(msgspec.Struct, frozen=True):
    """What the status endpoints show.

    `readiness` says whether anything can be asked. `node`, `peers` and `stake` describe the node and its network, ready
    to be encoded as JSON. `askable` filters offers to those that privacy and stakes allow. `aliasing` knows the owner's
    own names for models. `first_look` returns when
    every LLM server has listed its models once, or takes too long to. `running` gives the entries of Ollama's
    `/api/ps`.
    """

    catalog: Catalog
    askable: Callable[[Offers], Offers]
    aliasing: Aliasing
    refresh: Callable[[], Awaitable[None]]
    first_look: Callable[[], Awaitable[None]]
    running: Callable[[], Awaitable[list[msgspec.Raw]]]
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    node: Callable[[], object]
    peers: Callable[[], object]
    stake: Callable[[], object]


# Makes an answer: text or bytes, what is written as JSON, or a whole response.
Make = Callable[[NodeView, Request], Awaitable[object]]


def json_response(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _known(tell: Callable[[NodeView], object]) -> Make:
    """What the node knows without asking anybody."""

    async def made(view: NodeView, request: Request) -> object:
        del request
        return tell(view)

    return made


def _models(tell: Callable[[Offers, Request], object]) -> Make:
    """What can be asked for, once LLM servers had the time to say so."""

    async def made(view: NodeView, request: Request) -> object:
        await view.first_look()
        return tell(view.aliasing.offers(), request)

    return made


def _readyz(view: NodeView) -> object:
    found = view.readiness()
    return found if found.ready else json_response(found, status_of_kind(ProviderAway))


def _search(offers: Offers, request: Request) -> object:
    return models.cloudflare_list(offers_for(DialectName.CLOUDFLARE, offers), request.query_params)


async def _ps(view: NodeView, request: Request) -> object:
    del request
    return {"models": await view.running()}


async def _one_model(view: NodeView, request: Request) -> object:
    asked = check_model(request.path_params["model"])  # decoded once, by the server
    model = await view.aliasing.model_for(asked)
    if not view.catalog.knows(model):
        await view.refresh()
    offers = view.askable(view.catalog.offers_of(model))
    if not offers:
        nearest = ", ".join(view.catalog.nearest(model)) or "none is served at all"
        raise UnknownModel(
            f"No LLM known here serves the model {model!r}. Nearest: {nearest}.{alias_words(asked, model)}"
        )
    family = _family(request)
    found = offers_for(family, offers)
    if not found:
        raise not_in_family(model, family, offers)
    response = json_response({**models.openai_entry(renamed(found, asked, model)[0][1]), "id": asked})
    response.headers.update({name.decode(): value.decode() for name, value in alias_header(asked, model)})
    return response


def _family(request: Request) -> DialectName:
    """Whose client lists models: Anthropic's say so, all others are taken for OpenAI's."""
    return DialectName.ANTHROPIC if "anthropic-version" in request.headers else DialectName.OPENAI


_HEALTHZ = _known(lambda _: {"status": "ok"})
# Every endpoint that is read, and what makes its answer: the one table. `/openapi.json` and docs/ are made from it.
GETS: dict[GetEndpoint, Make] = {
    GetEndpoint("/", "Is the node running?", "text/plain"): _known(
        lambda _: f"Masa Node {__version__} is running. See /openapi.json, /api/v1/llm/models."
    ),
    GetEndpoint("/healthz", "Liveness: the process answers"): _HEALTHZ,
    GetEndpoint("/health", "The same, where clients of llama.cpp and vLLM look for it"): _HEALTHZ,
    GetEndpoint("/v1/health", "The same"): _HEALTHZ,
    GetEndpoint("/readyz", "Readiness: some model can be asked; if none, why, and what to do"): _known(_readyz),
    GetEndpoint("/metrics", "Prometheus metrics", "text/plain; version=0.0.4; charset=utf-8"): _known(
        lambda view: view.metrics()
    ),
    GetEndpoint("/openapi.json", "This description"): _known(lambda _: describe(GETS)),
    GetEndpoint("/api/v1/node", "The node itself: version, id, addresses, load, policies"): _known(
        lambda view: view.node()
    ),
    GetEndpoint("/api/v1/peers", "The peers: which are linked, directly or by relay, and what they share"): _known(
        lambda view: view.peers()
    ),
    GetEndpoint("/api/v1/stake", "Stakes: the policies, this node's own stake, what was read of the chain"): _known(
        lambda view: view.stake()
    ),
    GetEndpoint("/api/v1/llm/models", "The models that can be asked for now, their providers and endpoints"): _models(
        lambda offers, _: models.own_list(offers)
    ),
    GetEndpoint(
        "/v1/models",
        "The models that can be asked in OpenAI's formats; with an `anthropic-version` header, in Anthropic's",
    ): _models(lambda offers, request: models.openai_list(offers_for(_family(request), offers))),
    GetEndpoint("/api/tags", "The models that can be asked in Ollama's formats"): _models(
        lambda offers, _: models.ollama_tags(offers_for(DialectName.OLLAMA, offers))
    ),
    GetEndpoint("/api/ps", "The models that the Ollamas behind the node hold in memory now"): _ps,
    GetEndpoint("/api/version", "The Ollama API version that is spoken"): _known(
        lambda _: {"version": OLLAMA_API_VERSION, "masa_node": __version__}
    ),
    GetEndpoint(
        SEARCH_PATH, "The models that can be asked in Cloudflare's format; `search`, `task`, `page`, `per_page`"
    ): _models(_search),
    GetEndpoint("/v1/models/{model}", "One model, in a shape that the OpenAI and Anthropic SDKs read"): _one_model,
}
GET_PATHS = frozenset(each.path for each in GETS if "{" not in each.path)
_ROUTED = {each.path.removeprefix(AT_CLOUDFLARES): each for each in GETS}  # as `place_of` has it
_BEFORE_A_NAME = tuple(path.partition("{")[0] for path in _ROUTED if "{" in path)


def is_get(path: str) -> bool:
    """Is this something that is there to be read?"""
    return path in _ROUTED or path.startswith(_BEFORE_A_NAME)


def ordinary_endpoints(view: NodeView) -> Router:
    """A bare router: errors pass through it to `App`, which tells them. It is only asked for paths that exist."""
    return Router(
        routes=[
            Route(path.replace("{model}", "{model:path}"), _handler(view, GETS[each], each.media_type))
            for path, each in _ROUTED.items()
        ]
    )


def _handler(view: NodeView, make: Make, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        made = await make(view, request)
        if isinstance(made, Response):
            return made
        return Response(made, media_type=media_type) if isinstance(made, str | bytes) else json_response(made)

    return handler
