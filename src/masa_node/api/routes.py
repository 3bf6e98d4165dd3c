"""The ordinary doors, served by Starlette: lists of models, versions, health, metrics, the API's description."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from masa_node import __version__
from masa_node.api import models
from masa_node.api.openapi import describe
from masa_node.chat.errors import UnknownModel
from masa_node.dialects.peek import check_model
from masa_node.routing.catalog import Catalog

# The Ollama release whose API this one speaks: clients refuse versions that look too old for a feature they use.
OLLAMA_API_VERSION = "0.32.15"

Endpoint = Callable[[Request], Awaitable[Response]]


class NodeView(msgspec.Struct, frozen=True):
    """What the ordinary doors show. `upstreams` gives name, label and whether it is up (None: not yet known);
    `node`, `peers` and `stake` give what is told of the node and of its network, ready to be written as JSON;
    `has_peers` tells whether there is one that may be asked.
    """

    catalog: Catalog
    refresh: Callable[[], Awaitable[None]]
    upstreams: Callable[[], list[tuple[str, str, bool | None]]]
    metrics: Callable[[], bytes]
    node: Callable[[], object]
    peers: Callable[[], object]
    stake: Callable[[], object]
    has_peers: Callable[[], bool]


def json_response(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def ordinary_doors(view: NodeView) -> Router:
    """A bare router: errors pass through it to `App`, which tells them. It is only asked for paths that exist."""
    return Router(
        routes=[
            Route("/", _root),
            Route("/healthz", _healthz),
            Route("/readyz", _readyz(view)),
            Route("/metrics", _metrics(view)),
            Route("/openapi.json", _openapi),
            Route("/api/v1/node", _list(view.node)),
            Route("/api/v1/peers", _list(view.peers)),
            Route("/api/v1/stake", _list(view.stake)),
            Route("/api/v1/llm/models", _list(lambda: models.own_list(view.catalog))),
            Route("/v1/models", _list(lambda: models.openai_list(view.catalog))),
            Route("/v1/models/{model:path}", _one_model(view)),
            Route("/api/tags", _list(lambda: models.ollama_tags(view.catalog))),
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


def _list(make: Callable[[], object]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        del request
        return json_response(make())

    return endpoint


def _readyz(view: NodeView) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        del request
        upstreams = view.upstreams()
        is_ready = view.has_peers() or any(is_up for _, _, is_up in upstreams)
        states = {None: "not asked yet", True: "up", False: "down"}
        listed = [{"name": name, "kind": label, "state": states[is_up]} for name, label, is_up in upstreams]
        return json_response({"ready": is_ready, "upstreams": listed}, 200 if is_ready else 503)

    return endpoint


def _metrics(view: NodeView) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        del request
        return Response(view.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return endpoint


def _one_model(view: NodeView) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        model = check_model(request.path_params["model"])  # decoded once, by the server
        if not view.catalog.knows(model):
            await view.refresh()
        offers = view.catalog.offers_of(model)
        if not offers:
            nearest = ", ".join(view.catalog.nearest(model)) or "none is served at all"
            raise UnknownModel(f"No LLM known here serves the model {model!r}. Nearest: {nearest}.")
        return json_response({**models.openai_entry(offers[0][1]), "id": model})

    return endpoint
