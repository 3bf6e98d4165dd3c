import pytest

from masa_node.api import routes
from masa_node.api.paths import place_of
from masa_node.api.routes import GETS, methods_at
from masa_node.api.views.openapi import NodeEndpoint, describe
from tests.api.raw_http import MODEL, ask_once, get
from tests.api.serving import ServingNode


def asked(endpoint: NodeEndpoint) -> str:
    """Its path, as a client asks for it."""
    return endpoint.path.replace("{account}", "0a").replace("{model}", MODEL).replace("{file}", "index.html")


def test_no_path_is_in_the_table_twice() -> None:
    assert len({each.path for each in GETS}) == len(GETS)


@pytest.mark.parametrize("endpoint", GETS, ids=lambda each: each.path)
async def test_a_row_of_the_table_is_all_that_an_endpoint_needs(node: ServingNode, endpoint: NodeEndpoint) -> None:
    path = asked(endpoint)
    assert "GET" in methods_at(place_of(path, path.encode()).path)
    reply = await ask_once(node.port, get(path.encode()))
    media_type = endpoint.media_type.partition(";")[0].replace("*/*", "text/html")
    expected = {"/api/v1/races/{request_id}": 404, "/console": 307}.get(endpoint.path, 200)  # no request has that id
    assert (reply.status, str(reply.header("content-type")).partition(";")[0]) == (expected, media_type)
    assert describe([endpoint])["paths"][endpoint.path]["get"]["summary"] == endpoint.about  # type: ignore[index]


@pytest.mark.parametrize("path", ["/healthz/", "/metrics/x", "/client/v4/accounts/0a/ai/models", "/ai"])
def test_what_has_no_row_is_not_there(path: str) -> None:
    assert methods_at(path) == []


def test_the_description_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = routes._described()
    monkeypatch.setattr(routes, "describe", lambda _: pytest.fail("made again"))
    assert routes._described() is first
