"""`/openapi.json` against the running node: schemathesis makes requests from it, good and bad, and compares.

All of schemathesis' checks apply. Good requests are made for the model that is there: which names are usable (printable
ones) cannot be said by a pattern that every validator reads alike. It would make mostly names that are refused. The
stream of events, which does not end, has tests of its own.
"""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from masa_node.api.control.events import EVENTS
from masa_node.api.paths import CHAT_ENDPOINTS, SEARCH_PATH
from masa_node.api.routes import CHANGES, GET_PATHS, GETS
from masa_node.api.views.openapi import describe
from masa_node.chat.request import ENDPOINTS, RUN_PATH, DialectName
from tests.api.raw_http import MODEL, ask_once, get
from tests.api.serving import ServingNode

DESCRIBED: dict[str, list[str]] = {
    path: list(methods)
    for path, methods in json.loads(json.dumps(describe((*GETS, EVENTS, *CHANGES))["paths"])).items()
}
ENDING = [(path, method) for path, methods in DESCRIBED.items() for method in methods if path != EVENTS.path]
NOT_SPOKEN = ("speaks the format of this endpoint", "cannot be translated")
BOUNDED = settings(
    max_examples=6,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def schema(node: ServingNode) -> schemathesis.BaseSchema:
    """The description, as the node gives it."""
    return schemathesis.openapi.from_url(f"{node.address}/openapi.json")


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path in DESCRIBED for method in DESCRIBED[path] if path != EVENTS.path]
)
def test_a_request_that_fits_gets_an_answer_that_fits(
    node: ServingNode, schema: schemathesis.BaseSchema, path: str, method: str
) -> None:
    @BOUNDED
    @given(schema[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def check(case: Case) -> None:
        if isinstance(case.body, dict):
            case.body |= {key: MODEL for key in ("model", "name") if key in case.body}
        case.path_parameters |= dict.fromkeys({"model"} & set(case.path_parameters), MODEL)
        response = case.call(base_url=node.address)
        # The built-in model has no embeddings; a strict caller may be of another format; what is of no type that its
        # API knows (`"n": {}`) is translated for nobody. So these are refused, whatever fits.
        is_refused = response.status_code == 400 and any(words in response.text for words in NOT_SPOKEN)
        case.validate_response(response, excluded_checks=[positive_data_acceptance] if is_refused else [])

    check()


@pytest.mark.parametrize("path", [path for path in DESCRIBED if "post" in DESCRIBED[path]])
def test_a_request_that_does_not_fit_gets_an_error_that_does(
    node: ServingNode, schema: schemathesis.BaseSchema, path: str
) -> None:
    @BOUNDED
    @given(schema[path]["post"].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def check(case: Case) -> None:
        case.call_and_validate(base_url=node.address)

    check()


def test_every_endpoint_is_described_and_nothing_else() -> None:
    def those_with(method: str) -> set[str]:
        return {path for path, methods in DESCRIBED.items() if method in methods}

    ai = RUN_PATH.removesuffix("/run/{model}")
    at_cloudflares = {RUN_PATH, *(f"{ai}/v1/{each}" for each in ("chat/completions", "embeddings", "responses"))}
    changing = {method: {each.path for each in CHANGES if each.method == method} for method in ("POST", "DELETE")}
    at_googles = {facts.paths[0] for facts in ENDPOINTS.values() if facts.dialect == DialectName.GEMINI}
    assert those_with("post") == set(CHAT_ENDPOINTS) | at_cloudflares | at_googles | changing["POST"]
    named = {
        "/v1/models/{model}",
        "/v1beta/models/{model}",
        "/api/v1/races/{request_id}",
        "/console/{file}",
        SEARCH_PATH,
    }
    assert those_with("get") == GET_PATHS | named | {EVENTS.path}
    assert those_with("delete") == changing["DELETE"]


async def test_every_described_path_exists(node: ServingNode) -> None:
    parts = {"model": MODEL, "account": "0a", "request_id": "nobodys", "file": "index.html"}
    for path, methods in DESCRIBED.items():
        if path == EVENTS.path:
            continue
        named = path.format(**parts, invite_id="0" * 8, node_id="a" * 64, verb="block")
        reply = await ask_once(node.port, get(named.encode()))
        expected = {"/api/v1/races/{request_id}": 404, "/console": 307}
        assert reply.status == expected.get(path, 200 if "get" in methods else 405)


async def test_bodies_are_described_with_their_bounds() -> None:
    described = json.loads(json.dumps(describe(CHANGES)["paths"]))
    body = described["/api/v1/invites"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (body["additionalProperties"], body["properties"]["uses"]["maximum"]) == (False, 10_000)
    assert "201" in described["/api/v1/invites"]["post"]["responses"]
