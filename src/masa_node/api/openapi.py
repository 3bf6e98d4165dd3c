"""The description of the HTTP endpoints (OpenAPI 3.1). Tests compare it with what the node does."""

import re

from masa_node import __version__
from masa_node.api.paths import SEARCH_PATH
from masa_node.api.route_headers import PRIVACY, RACE, RACE_FORM, STRICT
from masa_node.chat.request import DIALECT_OF_ENDPOINT, ENDPOINT_PATHS, RUN_PATH, Endpoint, Privacy
from masa_node.chat.statuses import STATUS

Json = dict[str, object]

_ABOUT: dict[Endpoint, str] = {
    Endpoint.NATIVE: "Chat in the LLM's own format: the body goes unchanged to the LLM's own chat endpoint",
    Endpoint.OPENAI_CHAT: "OpenAI chat completions",
    Endpoint.OPENAI_COMPLETIONS: "OpenAI completions (the older kind, from a prompt)",
    Endpoint.OPENAI_RESPONSES: "OpenAI responses",
    Endpoint.OPENAI_EMBEDDINGS: "OpenAI embeddings",
    Endpoint.ANTHROPIC_MESSAGES: "Anthropic messages",
    Endpoint.ANTHROPIC_COUNT_TOKENS: "How many tokens an Anthropic message would take",
    Endpoint.OLLAMA_CHAT: "Ollama chat (streams unless told not to)",
    Endpoint.OLLAMA_GENERATE: "Ollama generate (streams unless told not to)",
    Endpoint.OLLAMA_SHOW: "What is known of a model, in Ollama's shape",
    Endpoint.OLLAMA_EMBED: "Ollama embeddings",
    Endpoint.OLLAMA_EMBEDDINGS: "Ollama embeddings (the older kind, from a prompt)",
    Endpoint.CLOUDFLARE_RUN: "Cloudflare Workers AI; `@cf/...` or encoded (`@cf%2F...`), any account",
}
_PLAIN: tuple[tuple[str, str, str], ...] = (
    ("/", "Is the node running?", "text/plain"),
    ("/healthz", "Liveness: the process answers", "application/json"),
    ("/health", "The same, where clients of llama.cpp and vLLM look for it", "application/json"),
    ("/v1/health", "The same", "application/json"),
    ("/readyz", "Readiness: some model can be asked; if none, why, and what to do", "application/json"),
    ("/metrics", "Prometheus metrics", "text/plain"),
    ("/openapi.json", "This description", "application/json"),
    ("/api/v1/node", "The node itself: version, id, addresses, load, policies", "application/json"),
    ("/api/v1/peers", "The peers: who is linked, directly or through a relay, and what they share", "application/json"),
    ("/api/v1/stake", "Stakes: the policies, this node's own stake, what was read of the chain", "application/json"),
    ("/api/v1/llm/models", "What can be asked here now, who serves it, through which endpoints", "application/json"),
    (
        "/v1/models",
        "The models that can be asked in OpenAI's formats; with an `anthropic-version` header, in Anthropic's",
        "application/json",
    ),
    ("/api/tags", "The models that can be asked in Ollama's formats", "application/json"),
    ("/api/ps", "The models that the Ollamas behind the node hold in memory now", "application/json"),
    ("/api/version", "The Ollama API version that is spoken", "application/json"),
)
_ROUTE_HEADERS: tuple[tuple[str, str, Json], ...] = (
    (
        RACE,
        f"Which peers are asked when no LLM of this node answers: {RACE_FORM}. Unset: RACE and RACE_WIDTH of the node",
        {"type": "string", "pattern": "^(all|hedge)(;width=[1-9][0-9]{0,2})?$"},
    ),
    (
        PRIVACY,
        "How far the request may travel: never to a peer, to trusted peers only, to any. Unset: PRIVACY of the node",
        {"type": "string", "enum": list(Privacy)},
    ),
    (
        STRICT,
        "1: refuse the request where it would have to be translated to another format. Unset: translate it",
        {"type": "string", "enum": ["0", "1"]},
    ),
)
_CLOUDFLARE_ALIASES = {
    f"/client/v4/accounts/{{account}}/ai{ENDPOINT_PATHS[endpoint][0]}": endpoint
    for endpoint in (Endpoint.OPENAI_CHAT, Endpoint.OPENAI_EMBEDDINGS, Endpoint.OPENAI_RESPONSES)
}
_SEARCH = "The models that can be asked in Cloudflare's format; `search`, `task`, `page`, `per_page`"
_ACCOUNT: Json = {
    "name": "account",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]+$"},
}
_ONE_MODEL = "One model, in a shape that the OpenAI and Anthropic SDKs read"
_MODEL_IN_PATH: Json = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_JSON_OBJECT: Json = {"schema": {"type": "object"}}


def describe() -> Json:
    """The whole description."""
    paths: dict[str, Json] = {}
    for endpoint, endpoint_paths in ENDPOINT_PATHS.items():
        for path in endpoint_paths:
            paths[path] = {"post": _chat_operation(endpoint, path)}
    for path, about, media_type in _PLAIN:
        paths[path] = {"get": _get_operation(path, about, media_type)}
    paths[RUN_PATH] = {"post": _run_operation()}
    for path, endpoint in _CLOUDFLARE_ALIASES.items():
        paths[path] = {"post": {**_chat_operation(endpoint, path), "parameters": [_ACCOUNT, *_route_headers()]}}
    paths[SEARCH_PATH] = {"get": {**_get_operation(SEARCH_PATH, _SEARCH, "application/json"), "parameters": [_ACCOUNT]}}
    paths["/v1/models/{model}"] = {"get": _one_model_operation()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Masa Node",
            "version": __version__,
            "description": (
                "One HTTP endpoint for any LLM. Bodies, streams and errors are in the endpoint's own format."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{}, {"bearer": []}, {"header": []}],
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            }
        },
        "paths": paths,
    }


def operations() -> list[tuple[str, str, str]]:
    """Method, path and meaning of every endpoint."""
    chat = [("POST", path, _ABOUT[endpoint]) for endpoint, paths in ENDPOINT_PATHS.items() for path in paths]
    chat.append(("POST", RUN_PATH, _ABOUT[Endpoint.CLOUDFLARE_RUN]))
    chat += [
        ("POST", path, (f"{_ABOUT[endpoint]}, at Cloudflare's address"))
        for path, endpoint in _CLOUDFLARE_ALIASES.items()
    ]
    lists = [("GET", path, about) for path, about, _ in _PLAIN]
    return [*chat, *lists, ("GET", SEARCH_PATH, _SEARCH), ("GET", "/v1/models/{model}", _ONE_MODEL)]


def _id_of(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", path).strip("_")


def _errors() -> Json:
    """Every status of an error that any endpoint may tell; an LLM's own 4xx and 5xx come through as they are."""
    content: Json = {"application/json": _JSON_OBJECT}
    responses: Json = {
        str(status): {"description": f"An error in the endpoint's format: {status}", "content": content}
        for status in sorted(set(STATUS.values()))
    }
    responses["default"] = {"description": "The LLM's own error, as it gave it", "content": content}
    return responses


def _chat_operation(endpoint: Endpoint, path: str) -> Json:
    named = "name" if endpoint is Endpoint.OLLAMA_SHOW else "model"
    body: Json = {
        "type": "object",
        "properties": {named: {"type": "string", "maxLength": 256, "minLength": 1}, "stream": {"type": "boolean"}},
        "required": [named],
        "additionalProperties": True,
    }
    return {
        "operationId": _id_of(path),
        "summary": _ABOUT[endpoint],
        "tags": [DIALECT_OF_ENDPOINT[endpoint].value if endpoint is not Endpoint.NATIVE else "native"],
        "parameters": _route_headers(),
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {
                "description": "The LLM's answer, whole or as a stream",
                "content": {
                    "application/json": _JSON_OBJECT,
                    "text/event-stream": {},  # a schema would be one of an event, and those are the LLM's own
                    "application/x-ndjson": {"schema": {"type": "string"}},
                },
            },
            **_errors(),
        },
    }


def _route_headers() -> list[Json]:
    return [
        {"name": name, "in": "header", "required": False, "description": about, "schema": schema}
        for name, about, schema in _ROUTE_HEADERS
    ]


def _run_operation() -> Json:
    body: Json = {"type": "object", "properties": {"stream": {"type": "boolean"}}, "additionalProperties": True}
    return {
        **_chat_operation(Endpoint.CLOUDFLARE_RUN, RUN_PATH),
        "parameters": [_ACCOUNT, _MODEL_IN_PATH, *_route_headers()],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
    }


def _get_operation(path: str, about: str, media_type: str) -> Json:
    schema: Json = _JSON_OBJECT if media_type == "application/json" else {"schema": {"type": "string"}}
    return {
        "operationId": f"get_{_id_of(path) or 'root'}",
        "summary": about,
        "responses": {"200": {"description": about, "content": {media_type: schema}}, **_errors()},
    }


def _one_model_operation() -> Json:
    return {
        "operationId": "get_v1_model",
        "summary": _ONE_MODEL,
        "parameters": [_MODEL_IN_PATH],
        "responses": {"200": {"description": "The model", "content": {"application/json": _JSON_OBJECT}}, **_errors()},
    }
