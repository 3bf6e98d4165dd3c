import pytest

from masa_node.chat.request import ENDPOINT_PATHS, Endpoint, Request, RequestId


def a_request() -> Request:
    return Request(
        RequestId("r"),
        Endpoint.OPENAI_CHAT,
        "m",
        wants_stream=True,
        body=b"{}",
        headers=(),
        first_piece_deadline_s=1.0,
        idle_timeout_s=1.0,
    )


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        a_request().body = b"other"  # type: ignore[misc]


def test_no_path_belongs_to_two_endpoints() -> None:
    paths = [path for of_endpoint in ENDPOINT_PATHS.values() for path in of_endpoint]
    assert len(paths) == len(set(paths))


def test_the_products_own_endpoint_has_both_of_its_paths() -> None:
    assert ENDPOINT_PATHS[Endpoint.NATIVE] == ("/api/v1/chat", "/v1/api/chat")
