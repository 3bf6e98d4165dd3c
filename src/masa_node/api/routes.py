"""The ordinary endpoints, served by Starlette: lists of models, versions, health, metrics, the API's description."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from masa_node import __version__
from masa_node.api import models
from masa_node.api.families import Offers, not_in_family, offers_for
from masa_node.api.openapi import describe
from masa_node.api.paths import SEARCH
from masa_node.chat.errors import UnknownModel
from masa_node.chat.request import DialectName
from masa_node.dialects.peek import check_model
from masa_node.routing.catalog import Catalog

# The Ollama release whose API this one speaks: clients refuse versions that look too old for a feature they use.
OLLAMA_API_VERSION = "0.32.15"

Handler = Callable[[Request], Awaitable[Response]]


class Readiness(msgspec.Struct, frozen=True):
    """`GET /readyz`. `why` says why nothing can be asked, and what to do; None if something can."""

    ready: bool
    upstreams: list[dict[str, object]]
    why: str | None


class NodeView(msgspec.Struct, frozen=True):
    """What the ordinary endpoints show. `readiness` tells whether anything can be asked;
    `node`, `peers` and `stake` give what is told of the node and of its network, ready to be written as JSON;
    `askable` gives those of some offers that may be asked for at all (privacy, stakes); `first_look` returns when LLM
    servers have been asked once what they serve, or that takes too long; `running` gives the entries of Ollama's
    `/api/ps`.
    """

    catalog: Catalog
    askable: Callable[[Offers], Offers]
    refresh: Callable[[], Awaitable[None]]
    first_look: Callable[[], Awaitable[None]]
    running: Callable[[], Awaitable[list[msgspec.Raw]]]
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    node: Callable[[], object]
    peers: Callable[[], object]
    stake: Callable[[], object]


def json_response(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def ordinary_endpoints(view: NodeView) -> Router:
    """A bare router: errors pass through it to `App`, which tells them. It is only asked for paths that exist."""
    return Router(
        routes=[
            Route("/", _root),
            *(Route(path, _healthz) for path in ("/healthz", "/health", "/v1/health")),
            Route("/readyz", _readyz(view)),
            Route("/metrics", _metrics(view)),
            Route("/openapi.json", _openapi),
            Route("/api/v1/node", _list(view.node)),
            Route("/api/v1/peers", _list(view.peers)),
            Route("/api/v1/stake", _list(view.stake)),
            Route("/api/v1/llm/models", _models(view, lambda offers, _: models.own_list(offers))),
            Route("/v1/models", _models(view, _openai_or_anthropic)),
            Route("/v1/models/{model:path}", _one_model(view)),
            Route("/api/tags", _models(view, _tags)),
            Route("/api/ps", _ps(view)),
            Route(SEARCH, _models(view, _search)),
            Route("/api/version", _version),
        ]
    )


async def _root(request: Request) -> Response:
    del request
    return Response(
        f"Masa Node {__version__} is running. See /openapi.json, /api/v1/llm/models.", media_type="text/plain"
    )


async def _healthz(request: Request) -> Response:
    del request
    return json_response({"status": "ok"})


async def _version(request: Request) -> Response:
    del request
    return json_response({"version": OLLAMA_API_VERSION, "masa_node": __version__})


async def _openapi(request: Request) -> Response:
    del request
    return json_response(describe())


def _list(make: Callable[[], object]) -> Handler:
    async def handler(request: Request) -> Response:
        del request
        return json_response(make())

    return handler


def _models(view: NodeView, make: Callable[[Offers, Request], object]) -> Handler:
    async def handler(request: Request) -> Response:
        await view.first_look()
        return json_response(make(view.askable(view.catalog.all_offers()), request))

    return handler


def _family(request: Request) -> DialectName:
    """Whose client lists models: Anthropic's say so, all others are taken for OpenAI's."""
    return DialectName.ANTHROPIC if "anthropic-version" in request.headers else DialectName.OPENAI


def _openai_or_anthropic(offers: Offers, request: Request) -> object:
    return models.openai_list(offers_for(_family(request), offers))


def _tags(offers: Offers, request: Request) -> object:
    del request
    return models.ollama_tags(offers_for(DialectName.OLLAMA, offers))


def _search(offers: Offers, request: Request) -> object:
    return models.cloudflare_list(offers_for(DialectName.CLOUDFLARE, offers), request.query_params)


def _ps(view: NodeView) -> Handler:
    async def handler(request: Request) -> Response:
        del request
        return json_response({"models": await view.running()})

    return handler


def _readyz(view: NodeView) -> Handler:
    async def handler(request: Request) -> Response:
        del request
        found = view.readiness()
        return json_response(found, 200 if found.ready else 503)

    return handler


def _metrics(view: NodeView) -> Handler:
    async def handler(request: Request) -> Response:
        del request
        return Response(view.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return handler


def _one_model(view: NodeView) -> Handler:
    async def handler(request: Request) -> Response:
        model = check_model(request.path_params["model"])  # decoded once, by the server
        if not view.catalog.knows(model):
            await view.refresh()
        offers = view.askable(view.catalog.offers_of(model))
        if not offers:
            nearest = ", ".join(view.catalog.nearest(model)) or "none is served at all"
            raise UnknownModel(f"No LLM known here serves the model {model!r}. Nearest: {nearest}.")
        family = _family(request)
        found = offers_for(family, offers)
        if not found:
            raise not_in_family(model, family, offers)
        return json_response({**models.openai_entry(found[0][1]), "id": model})

    return handler
