"""What a path asks for: an endpoint, perhaps with the model's name in it, a list, or something that is not here.
Pure.
"""

import re
from urllib.parse import unquote_to_bytes

import msgspec

from masa_node.chat.errors import BadModel
from masa_node.chat.request import AT_GOOGLES, ENDPOINT_PATHS, ENDPOINTS, DialectName, Endpoint

CHAT_ENDPOINTS: dict[str, Endpoint] = {path: endpoint for endpoint, paths in ENDPOINT_PATHS.items() for path in paths}
ONE_MODEL = "/v1/models/"
SEARCH = "/ai/models/search"
AT_CLOUDFLARES = "/client/v4/accounts/{account}"  # where their clients look for the same
SEARCH_PATH = AT_CLOUDFLARES + SEARCH
PEER_VERBS = ("trust", "untrust", "block", "unblock", "forget")  # /api/v1/peers/{node_id}/{verb}

# What clients of Ollama ask of their server beside answers, in the words of what this node does not do.
_MANAGEMENT = {
    "/api/pull": "pulls no models",
    "/api/push": "pushes no models",
    "/api/create": "creates no models",
    "/api/copy": "copies no models",
    "/api/delete": "deletes no models",
}
# What once was an endpoint of a vendor's, and what took its place.
REPLACED = {"/v1/complete": "/v1/messages"}
_BLOBS = "/api/blobs/"
_AT_GOOGLES = {
    facts.paths[0].removeprefix(AT_GOOGLES).encode(): endpoint
    for endpoint, facts in ENDPOINTS.items()
    if facts.dialect == DialectName.GEMINI
}
_GEMINI = re.compile(r"/v1(?:alpha|beta)?\d*/models/.+:[a-z]+[A-Z]\w+|/v1(?:alpha|beta)\d*/.*")
_GOOGLES_OPENAI = "/v1beta/openai/"  # below it Google speaks OpenAI's formats
_GOOGLES_NEWER = "/v1alpha/models"
_VERB = re.compile(rb"//?v1(?:alpha|beta)?\d*/+models/(?P<model>.+)(?::|%3[aA])(?P<verb>[A-Za-z]+)")
_ONE_MODEL_LOOSELY = re.compile(r"//?v1//?models/+(?=.)")
_SLASHES = re.compile("/{2,}")
# Cloudflare's SDK puts its base URL before it, `https://api.cloudflare.com/client/v4`, of which people replace the
# host, or all. Which account is named does not matter: the node has the owner's.
_CLOUDFLARE = re.compile(rb"(?:/client/v4)?/accounts/[^/]+/ai/(?P<rest>.+)")
_RUN = b"run/"
_DOTS = frozenset({".", ".."})


class Place(msgspec.Struct, frozen=True):
    """`path` as it is written here. `model` is set where it stands in the path, as at Cloudflare's and Google's."""

    path: str
    endpoint: Endpoint | None = None
    model: str | None = None


def place_of(path: str, raw_path: bytes) -> Place:
    """What is asked for. `path` is `raw_path` with its escapes decoded, once. Raises `BadModel`."""
    tidy = tidy_path(path)
    if tidy.startswith(_GOOGLES_OPENAI):
        tidy = "/v1/" + tidy.removeprefix(_GOOGLES_OPENAI)
    elif tidy.startswith(_GOOGLES_NEWER):
        tidy = tidy.replace("alpha", "beta", 1)
    endpoint = CHAT_ENDPOINTS.get(tidy)
    if endpoint is not None:
        return Place(tidy, endpoint)
    asked = _VERB.fullmatch(raw_path)
    if asked is not None and asked["verb"] in _AT_GOOGLES:
        return Place(tidy, _AT_GOOGLES[asked["verb"]], _model_in(asked["model"]))
    match = _CLOUDFLARE.fullmatch(raw_path)
    if match is None:
        return Place(tidy)
    rest = match["rest"]
    if rest.startswith(_RUN) and len(rest) > len(_RUN):
        return Place(tidy, Endpoint.CLOUDFLARE_RUN, _model_in(rest[len(_RUN) :]))
    inner = "/" + rest.decode("ascii")
    if CHAT_ENDPOINTS.get(inner) is not None and inner.startswith("/v1/"):  # its OpenAI-compatible endpoints
        return Place(inner, CHAT_ENDPOINTS[inner])
    return Place(SEARCH if inner == SEARCH.removeprefix("/ai") else tidy)


def not_done_here(path: str) -> str | None:
    """What this node does not do, in words, if the path asks for the management of models; else None."""
    if path.startswith(_BLOBS):
        return "takes no model files"
    return _MANAGEMENT.get(path)


def is_gemini(path: str) -> bool:
    """Does a client of Google's own API ask? Its paths are a model with a verb, or of versions that no other has."""
    return _GEMINI.fullmatch(path) is not None


def dialect_of_path(path: str) -> DialectName:
    """The format in which clients that ask for such a path read errors."""
    if path.startswith(("/v1/messages", "/messages", "/v1/complete")) and not path.startswith("/v1/completions"):
        return DialectName.ANTHROPIC
    if "/ai/run" in path or path.endswith(SEARCH):
        return DialectName.CLOUDFLARE
    if is_gemini(path):
        return DialectName.GEMINI
    if path.startswith("/api/") and not path.startswith("/api/v1/"):
        return DialectName.OLLAMA
    return DialectName.OPENAI


def tidy_path(path: str) -> str:
    """The path as it is written here: clients whose base URL ends with a slash ask for `/v1//models`, and some for
    `/v1/models/`. A model's name stays as it is, and no other path is the same with a slash at its end.
    """
    if "//" not in path and path != ONE_MODEL:
        return path
    match = _ONE_MODEL_LOOSELY.match(path)
    if match:
        return ONE_MODEL + path[match.end() :]
    tidy = _SLASHES.sub("/", path)
    return tidy if tidy != ONE_MODEL else tidy.rstrip("/")


def _model_in(rest: bytes) -> str:
    """The name at the end of the path, decoded once; it is data, not a path. Raises `BadModel`."""
    try:
        model = unquote_to_bytes(rest).decode()
    except UnicodeDecodeError as exc:
        raise BadModel("The model's name in the path is not UTF-8.") from exc
    if _DOTS & set(model.split("/")):
        raise BadModel(f"{model[:100]!r} cannot be a model's name: it would lead to another path.")
    return model
