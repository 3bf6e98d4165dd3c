"""The description of the HTTP endpoints (OpenAPI 3.1). Tests compare it with what the node does."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from masa_node.api.paths import AT_CLOUDFLARES, PEER_VERBS
from masa_node.api.route_headers import FORMAT, PRIVACY, RACE, RACE_FORM, STRICT
from masa_node.chat.request import CHAT_DIALECTS, ENDPOINTS, FORM_ENDPOINTS, DialectName, Endpoint, Privacy, path_of
from masa_node.chat.statuses import STATUS
from masa_node.dialects.passed.forms import FORM_TYPE
from masa_node.version import __version__

Json = dict[str, object]
_FORM_NAME = r"^[A-Za-z0-9_.\[\]-]{1,64}$"  # OpenAI's are all of this kind: `timestamp_granularities[]`


class NodeEndpoint(msgspec.Struct, frozen=True):
    """What can be read, changed or ended. Parts of its path in braces stand for any.

    `query` is what may stand in its query, `body` what it takes, `status` that of success. `is_owners`: only they may.
    """

    path: str
    about: str
    media_type: str = "application/json"
    query: type[msgspec.Struct] | None = None
    method: str = "GET"
    body: type[msgspec.Struct] | None = None
    status: int = 200
    is_owners: bool = False

    @property
    def content_type(self) -> bytes:
        """As the header of that name has it: text says that it is UTF-8."""
        is_unsaid = self.media_type.startswith("text/") and "charset=" not in self.media_type
        return (self.media_type + "; charset=utf-8" * is_unsaid).encode()


def _header(name: str, about: str, schema: Json, place: str = "header") -> Json:
    return {"name": name, "in": place, "required": False, "description": about, "schema": schema}


_ROUTE_HEADERS = (
    _header(
        RACE,
        f"Which peers are asked when no LLM of this node answers: {RACE_FORM}. Unset: RACE and RACE_WIDTH of the node",
        {"type": "string", "pattern": "^(all|hedge)(;width=[1-9][0-9]{0,2})?$"},
    ),
    _header(
        PRIVACY,
        "How far the request may travel: never to a peer, to trusted peers only, to any. Unset: PRIVACY of the node",
        {"type": "string", "enum": list(Privacy)},
    ),
    _header(
        STRICT,
        "1: refuse the request where it would have to be translated to another format. Unset: translate it",
        {"type": "string", "enum": ["0", "1"]},
    ),
)
_FORMAT_HEADER = _header(
    FORMAT,
    "The format of the body and of the answer. Unset: the body's, else the servers' own or Ollama's",
    {"type": "string", "enum": list(CHAT_DIALECTS)},
)
_AS_EVENTS: Json = {"name": "alt", "in": "query", "required": True, "schema": {"type": "string", "enum": ["sse"]}}
_CLOUDFLARE_ALIASES = {
    f"{AT_CLOUDFLARES}/ai{path_of(endpoint)}": endpoint
    for endpoint in (Endpoint.OPENAI_CHAT, Endpoint.OPENAI_EMBEDDINGS, Endpoint.OPENAI_RESPONSES)
}
_IN_PATH: dict[str, Json] = {  # the schema of each part of a path
    "account": {"pattern": "^[0-9a-f]+$"},
    "model": {"minLength": 1},
    "request_id": {"pattern": "^[A-Za-z0-9._-]{1,64}$"},
    "file": {"pattern": "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"},
    "invite_id": {"pattern": "^[0-9a-f]{8}$"},
    "node_id": {"pattern": "^[0-9a-f]{64}$"},
    "verb": {"enum": list(PEER_VERBS)},
}
_POSTS = {path: endpoint for endpoint, facts in ENDPOINTS.items() for path in facts.paths} | _CLOUDFLARE_ALIASES
_MODEL_IN_BODY: Json = {"type": "string", "maxLength": 256, "minLength": 1}
_JSON_OBJECT: Json = {"application/json": {"schema": {"type": "object"}}}


def describe(endpoints: Iterable[NodeEndpoint]) -> Json:
    """The whole description."""
    paths: dict[str, Json] = {path: {"post": _chat_operation(endpoint, path)} for path, endpoint in _POSTS.items()}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
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


def _parameters(path: str) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", **schema}}
        for name, schema in _IN_PATH.items()
        if f"{{{name}}}" in path
    ]


def _id_of(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", path).strip("_")


def _schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components([kind])
    schema: dict[str, Any] = schemas[kind.__name__]
    return schema


def _in_query(query: type[msgspec.Struct] | None) -> list[Json]:
    described: dict[str, Json] = _schema_of(query)["properties"] if query is not None else {}
    return [_header(name, str(schema.pop("description")), schema, "query") for name, schema in described.items()]


def _responses(about: str, content: Json, status: int = 200) -> Json:
    """Success, and each status of an error that any endpoint may tell; an LLM's own 4xx and 5xx come as they are."""
    return {
        str(status): {"description": about, "content": content},
        **{
            str(error): {"description": f"An error in the endpoint's format: {error}", "content": _JSON_OBJECT}
            for error in sorted(set(STATUS.values()))
        },
        "default": {"description": "The LLM's own error, as it gave it", "content": _JSON_OBJECT},
    }


def _chat_operation(endpoint: Endpoint, path: str) -> Json:
    named = {} if "{model}" in path else {"name" if endpoint is Endpoint.OLLAMA_SHOW else "model": _MODEL_IN_BODY}
    body: Json = {
        "type": "object",
        "properties": {**named, "stream": {"type": "boolean"}},
        "additionalProperties": True,
        **({"required": [*named]} if named else {}),
    }
    return {
        "operationId": _id_of(path),
        "summary": ENDPOINTS[endpoint].about + ", at Cloudflare's address" * (path in _CLOUDFLARE_ALIASES),
        "tags": [ENDPOINTS[endpoint].dialect if endpoint is not Endpoint.NATIVE else "native"],
        "parameters": [
            *_parameters(path),
            *_ROUTE_HEADERS,
            *[_FORMAT_HEADER] * (endpoint is Endpoint.NATIVE),
            *[_AS_EVENTS] * (endpoint is Endpoint.GEMINI_STREAM),
        ],
        "requestBody": {"required": True, "content": _taken(endpoint, body)},
        "responses": _responses("The LLM's answer, whole or as a stream", _given(endpoint)),
    }


def _given(endpoint: Endpoint) -> Json:
    """A schema of a stream would be one of an event, and those are the LLM's own."""
    content: Json = {**_JSON_OBJECT, "text/event-stream": {}}
    if ENDPOINTS[endpoint].dialect == DialectName.OPENAI_AUDIO:
        return {**content, "audio/*": {}, "text/plain": {"schema": {"type": "string"}}}
    return {**content, "application/x-ndjson": {"schema": {"type": "string"}}}


def _taken(endpoint: Endpoint, body: Json) -> Json:
    """In a form, only names that every reader of forms takes for the same are taken."""
    if endpoint not in FORM_ENDPOINTS:
        return {"application/json": {"schema": body}}
    form = {**body, "propertyNames": {"pattern": _FORM_NAME}}
    return {"application/json": {"schema": body}, FORM_TYPE: {"schema": form}}


def _operation(endpoint: NodeEndpoint) -> Json:
    media_type = endpoint.media_type.partition(";")[0]
    content: Json = {media_type: {"schema": {"type": "string"}}} if media_type != "application/json" else _JSON_OBJECT
    parameters = [*_parameters(endpoint.path), *_in_query(endpoint.query)]
    operation: Json = {
        "operationId": f"{endpoint.method.lower()}_{_id_of(endpoint.path) or 'root'}",
        "summary": endpoint.about,
        **({"parameters": parameters} if parameters else {}),
        "responses": _responses(endpoint.about, content, endpoint.status),
    }
    if endpoint.body is not None:
        schema = _schema_of(endpoint.body)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation
