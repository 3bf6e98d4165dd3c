"""Bytes are sacred: what the server sent is what the caller gets, and what the caller sent is what the server gets."""

import contextlib
import http.client
import json

import pytest
from masking import masked_bytes
from pair import Serve

# Written by hand: an order of keys, white space and escapes that no serialiser would give again.
BODY = rb'{ "max_tokens":3,"messages" : [{"content":"h\u00e9llo \/ \ud83d\ude42", "role":"user"}],  "model":"%s" %s}'


def post(url: str, path: str, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/api/v1/chat", "/v1/api/chat"])
@pytest.mark.parametrize("model", ["count", "utf8", "think"])
def test_a_whole_body_is_the_servers_byte_for_byte(serve: Serve, endpoint: str, model: str) -> None:
    pair = serve(model)
    body = BODY % (model.encode(), b"")
    status, headers, through = post(pair.node.url, endpoint, body)
    straight_status, straight_headers, straight = post(pair.server.url, "/v1/chat/completions", body)
    assert (status, masked_bytes(through)) == (straight_status, masked_bytes(straight))
    assert headers["Content-Type"] == straight_headers["Content-Type"]


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/api/v1/chat"])
def test_a_streamed_body_is_the_servers_byte_for_byte(serve: Serve, endpoint: str) -> None:
    pair = serve("utf8")
    body = BODY % (b"utf8", b', "stream": true')
    status, headers, through = post(pair.node.url, endpoint, body)
    straight_status, straight_headers, straight = post(pair.server.url, "/v1/chat/completions", body)
    assert (status, masked_bytes(through)) == (straight_status, masked_bytes(straight))
    assert headers["Content-Type"] == straight_headers["Content-Type"]
    assert through.endswith(b"data: [DONE]\n\n")


def test_an_error_of_the_server_is_given_byte_for_byte(serve: Serve) -> None:
    pair = serve("count")
    body = b'{"model":"count","messages":[{"role":"user","content":"hi"}],"max_tokens":"many"}'
    status, _, through = post(pair.node.url, "/v1/chat/completions", body)
    straight_status, _, straight = post(pair.server.url, "/v1/chat/completions", body)
    assert (status, through) == (straight_status, straight)
    assert status >= 400


def test_a_field_that_only_the_server_knows_reaches_it(serve: Serve) -> None:
    node = serve("count").node
    body = b'{"model":"count","messages":[{"role":"user","content":"hi"}],"n_predict":3}'
    _, _, answer = post(node.url, "/v1/chat/completions", body)
    assert json.loads(answer)["choices"][0]["message"]["content"] == " 1 2 3"


@pytest.mark.parametrize("stream", [b"", b', "stream": true'])
def test_an_answer_says_who_gave_it(serve: Serve, stream: bytes) -> None:
    _, headers, _ = post(serve("count").node.url, "/v1/chat/completions", BODY % (b"count", stream))
    assert headers["X-Request-Id"]
    assert (headers["X-Masa-Served-By"], headers["X-Masa-Model"]) == ("local", "count")
    assert "X-Masa-Translated" not in headers
