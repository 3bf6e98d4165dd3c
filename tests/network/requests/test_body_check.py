import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import PeerRefused
from masa_node.chat.request import Endpoint
from masa_node.dialects.bodies.peek import MAX_FIELDS, fields_as_written
from masa_node.network.requests.body_check import check_body, check_fields
from tests.dialects.recorded import Body, requests

Pairs = list[tuple[str, object]]


def check(body: bytes, endpoint: Endpoint = Endpoint.OPENAI_CHAT, *, wants_stream: bool = False) -> None:
    check_body(body, endpoint, "tiny", wants_stream=wants_stream)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"tiny"}',
        b' {\n\t"model" : "tiny" , "x" : {"model":"other","Model":1,"name":"x"} }\r\n',
        b'{"messages":[{"role":"user","content":"say \\"model\\": \\"other\\", please"}],"model":"tiny"}',
        b'{"model":"tiny","stream":false,"name_of":1}',
        b'{"model":"tiny","x":"half an emoji \\ud83d"}',
        b'{"mod\\u0065l":"tiny"}',
        '{"model":"tiny","x":"Grüße 🙂"}'.encode(),
        b'\xef\xbb\xbf{"model":"tiny","temperature":NaN}',
        b'{"model":"tiny","model":"tiny"}',
        b'{"a":1,"a":12,"model":"tiny"}',
        b'{"a":12,"a":1,"model":"tiny"}',
        b'{"a":[1],"a":[1,2],"model":"tiny"}',
        b'{"model":"tiny","models":null}',
    ],
)
def test_a_body_that_can_only_be_read_in_one_way_is_taken(body: bytes) -> None:
    check(body)


@pytest.mark.parametrize(
    "recorded",
    [body for body in requests() if body.endpoint is not Endpoint.OLLAMA_SHOW and body.json.get("model")],
    ids=str,
)
def test_the_bodies_of_real_clients_are_taken(recorded: Body) -> None:
    streams = recorded.json.get("stream", recorded.endpoint in (Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE))
    check_body(recorded.raw, recorded.endpoint, recorded.json["model"], wants_stream=streams)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"tiny","model":"other"}',
        b'{"model":"other","model":"tiny"}',
        b'{"model":"tiny","models":["other"]}',
        b'{"model":"tiny","Fallbacks":[]}',
        b'{"model":"tiny","Model":"other"}',
        b'{"MODEL":"other","model":"tiny"}',
        b'{"Model":"tiny"}',
        b'{"model":"tiny","\\u004dodel":"other"}',
        b'{"model":"tiny","mod\\u0065l":"other"}',
        b'{"model":"tiny","stream":false,"stream":true}',
        b'{"model":"tiny","Stream":true}',
        '{"model":"tiny","\u017ftream":true}'.encode(),  # the long s, which Go folds to s
        b'{"model":"other"}',
        b'{"model":"tiny "}',
        b'{"model":"tiny","stream":true}',
        b'{"model":["tiny"]}',
        b"{}",
        b"[]",
        b"",
        b"null",
        b'{"model":"tiny"',
        b'{"model":"tiny"}{"model":"other"}',
        b'{"model":"tiny"} x',
        b"\xff",
        b'{"model":"tiny","x":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_body_that_could_be_read_in_another_way_is_refused(body: bytes) -> None:
    with pytest.raises(PeerRefused):
        check(body)


@pytest.mark.parametrize(
    "endpoint", [Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE, Endpoint.OLLAMA_EMBED, Endpoint.NATIVE]
)
@pytest.mark.parametrize("name", ["name", "Name", "NAME"])
def test_ollama_gets_no_second_name(endpoint: Endpoint, name: str) -> None:
    body = json.dumps({"model": "tiny", name: "other", "stream": False}).encode()
    with pytest.raises(PeerRefused, match="name"):
        check(body, endpoint)
    check(body)


def test_where_the_url_names_the_model_the_body_need_not() -> None:
    check(b'{"messages":[],"stream":true}', Endpoint.CLOUDFLARE_RUN, wants_stream=True)
    with pytest.raises(PeerRefused):
        check(b'{"messages":[],"stream":true}', Endpoint.CLOUDFLARE_RUN)


def test_a_body_with_fields_without_end_is_refused() -> None:
    with pytest.raises(PeerRefused):
        check_fields(json.dumps({str(number): 0 for number in range(MAX_FIELDS + 1)}).encode())
    check_fields(json.dumps({str(number): 0 for number in range(MAX_FIELDS)}).encode())
    with pytest.raises(PeerRefused):  # the shortest there are
        check_fields(b"{%b}" % b",".join([b'"":1'] * (MAX_FIELDS + 1)))
    check_fields(json.dumps({"a": {str(number): ":" for number in range(MAX_FIELDS + 1)}}).encode())
    twice = "{" + ",".join(['"a":1'] * (2 * MAX_FIELDS)) + "}"
    with pytest.raises(PeerRefused):
        check_fields(twice.encode())


values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
pairs = st.lists(st.tuples(st.sampled_from(["a", "b", "model", "Model"]) | st.text(max_size=4), values), max_size=6)


def rendered(given: Pairs, spaces: str) -> bytes:
    inner = f",{spaces}".join(f"{json.dumps(key)}{spaces}:{spaces}{json.dumps(value)}" for key, value in given)
    return f"{spaces}{{{spaces}{inner}{spaces}}}{spaces}".encode()


@given(pairs, st.text(" \t\r\n", max_size=2))
def test_the_names_are_those_that_any_other_reader_finds(given: Pairs, spaces: str) -> None:
    body = rendered(given, spaces)
    found = json.loads(body, object_pairs_hook=lambda read: [key for key, _ in read])
    names = found if isinstance(found, list) else []
    check_fields(body)
    assert [name for name, _ in fields_as_written(body)] == names


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0model ', max_size=60).map(str.encode))
def test_any_bytes_are_checked_without_another_error(body: bytes) -> None:
    try:
        check(body)
    except PeerRefused:
        return
    assert json.loads(body)["model"] == "tiny"
