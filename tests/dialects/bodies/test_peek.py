import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import BadJson, BadModel, CallerError, PeerRefused
from masa_node.chat.request import Endpoint
from masa_node.dialects.bodies import peek as peeking
from masa_node.dialects.bodies.peek import MAX_FIELDS, MAX_MODEL_CHARS, Peeked, check_model, peek
from masa_node.dialects.condensing import LARGE_BYTES, REQUEST_DEPTH, at_once, condensed
from masa_node.network.requests.body_check import check_body
from tests.counted_calls import CountedCalls
from tests.dialects import recorded
from tests.dialects.recorded import Body

OLLAMA_ENDPOINTS = (Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE)
REQUESTS = recorded.requests()


def expected(request: Body) -> Peeked:
    said = request.json
    streams = said.get("stream", request.endpoint in OLLAMA_ENDPOINTS)
    return Peeked(said.get("model") or said["name"], streams)


@pytest.mark.parametrize(
    "request_", [request for request in REQUESTS if "model" in request.json or "name" in request.json], ids=str
)
def test_every_recorded_request_is_read(request_: Body) -> None:
    assert peek(request_.raw, request_.endpoint) == expected(request_)
    assert peek(json.dumps(request_.json, indent=4).encode(), request_.endpoint) == expected(request_)


@pytest.mark.parametrize(
    "request_", [request for request in REQUESTS if not {"model", "name"} & request.json.keys()], ids=str
)
def test_a_recorded_request_without_a_model_is_refused(request_: Body) -> None:
    with pytest.raises(BadModel):
        peek(request_.raw, request_.endpoint)


@pytest.mark.parametrize("endpoint", Endpoint)
def test_a_recorded_broken_request_is_refused(endpoint: Endpoint) -> None:
    for raw in (b"{nope", b""):
        with pytest.raises(BadJson):
            peek(raw, endpoint)


def test_the_order_of_the_keys_does_not_matter() -> None:
    fields = ['"model":"m"', '"stream":true', '"messages":[{"model":"inner","stream":false}]', '"name":"n"']
    for order in itertools.permutations(fields):
        assert peek(f"{{{','.join(order)}}}".encode(), Endpoint.OPENAI_CHAT) == Peeked("m", wants_stream=True)


@pytest.mark.parametrize("space", ["", " ", "\n", "\t", "\r\n", " \n\t "])
def test_spacing_does_not_matter(space: str) -> None:
    parts = ["", "{", '"model"', ":", '"m"', ",", '"stream"', ":", "true", "}", ""]
    assert peek(space.join(parts).encode(), Endpoint.OPENAI_CHAT) == Peeked("m", wants_stream=True)


@pytest.mark.parametrize("endpoint", [endpoint for endpoint in Endpoint if endpoint is not Endpoint.OLLAMA_SHOW])
@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"a","stream":true}',
        b'{"model":"a","stream":true,"stream" : true}',
        b'{"model":"a","mod\\u0065l":"a","stream":true}',
        b'{"model":"a","Model":"\\u0061","stream":true}',
        b'{"model":"a","stream":true,"max_tokens":1,"max_tokens":2}',
        b'{"model":"a","stream":true,"tools":[{"model":1,"Model":2,"stream":3,"name":4}]}',
        b'\xef\xbb\xbf{"model":"a","model":"a","stream":true,"x":NaN,"y":"\\ud83d"}',
        b'{"model":"a","name":"a","stream":true}',
    ],
    ids=repr,
)
def test_what_is_there_twice_and_harms_nobody_is_taken(body: bytes, endpoint: Endpoint) -> None:
    assert peek(body, endpoint) == Peeked("a", wants_stream=True)
    check_body(body, endpoint, "a", wants_stream=True)


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model":"a","stream":false,"model":"b"}', "model"),
        (b'{"model":"a","stream":false,"model":null}', "model"),
        (b'{"model":"a","stream":false,"stream":true}', "stream"),
        (b'{"model":"a","Model":"b"}', "model"),
        (b'{"MODEL":"b","model":"a"}', "model"),
        (b'{"model":"a","\\u004dodel":"b"}', "model"),
        (b'{"model":"a","mod\\u0065l":"b"}', "model"),
        (b'{"model":"a","Stream":true}', "stream"),
        ('{"model":"a","\u017ftream":true}'.encode(), "stream"),
        (b'{"model":"a","\\u017Ftream":true}', "stream"),
    ],
    ids=repr,
)
def test_a_body_that_can_be_read_in_two_ways_is_refused_at_the_endpoint_and_by_peers(
    body: bytes, field: str, endpoint: Endpoint
) -> None:
    with pytest.raises(CallerError, match=f"`{field}`"):
        peek(body, endpoint)
    with pytest.raises(PeerRefused, match=f"`{field}`"):
        check_body(body, endpoint, "a", wants_stream=False)


@pytest.mark.parametrize(
    "endpoint", [Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE, Endpoint.OLLAMA_EMBED, Endpoint.NATIVE]
)
def test_another_name_beside_the_model_is_refused_where_ollama_might_take_it(endpoint: Endpoint) -> None:
    with pytest.raises(BadModel, match="`name`"):
        peek(b'{"model":"a","name":"b"}', endpoint)


def test_a_deciding_field_among_very_many_is_refused() -> None:
    many = b",".join(b'"f%d":0' % number for number in range(100_000))
    with pytest.raises(CallerError, match="more than 256 fields"):
        peek(b'{"model":"a",' + many + b',"model":"b"}', Endpoint.OPENAI_CHAT)


NAMES = [
    "model",
    "stream",
    "name",
    "Model",
    "STREAM",
    "Name",
    "\u017ftream",
    "mod\u0065l",
    "mod\\u0065l",
    "\\u017Ftream",
    "models",
    "FallBacks",
    "n",
    "",
]
VALUES = [
    '"a"',
    '"b"',
    "true",
    "false",
    "null",
    '"model"',
    '"\\"model\\""',
    '{"model":"c"}',
    '{"stream": true}',
    "[]",
    "1",
    '"\u00fc"',
    "NaN",
]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", "\n:")]),
    st.sampled_from(["", "\n", "\ufeff", "x"]),
    st.sampled_from([Endpoint.OPENAI_CHAT, Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_SHOW, Endpoint.NATIVE]),
)
def test_what_is_read_quickly_of_a_small_body_is_what_a_longer_look_says(
    fields: list[tuple[str, str]], between: tuple[str, str], around: str, endpoint: Endpoint
) -> None:
    comma, colon = between
    text = comma.join(f'"{name}"{colon}{value}' for name, value in fields)
    body = f"{around if around != 'x' else ''}{{{text}}}{around if around == 'x' else ''}".encode()
    for allows_all in (True, False):
        quickly = peeking._read_once(body, endpoint, allows_all=allows_all)
        if quickly is not None:
            assert quickly[:2] == peeking._read_whole(body, endpoint, allows_all=allows_all)[:2]


def test_escapes_are_read_in_names_and_values() -> None:
    body = rb'{"mod\u0065l":"\u0042\u00e9\ud83d\ude42\/x","str\u0065am":true}'
    assert peek(body, Endpoint.OPENAI_CHAT) == Peeked("Bé🙂/x", wants_stream=True)


@pytest.mark.parametrize("endpoint", [each for each in Endpoint if each is not Endpoint.GEMINI_STREAM])
@pytest.mark.parametrize(
    ("stream", "says"),
    [(b"true", True), (b"false", False), (b"null", None), (b'"true"', None), (b"1", None), (b"{}", None)],
)
def test_only_ollamas_endpoints_stream_unless_told(endpoint: Endpoint, stream: bytes, says: bool | None) -> None:  # noqa: FBT001
    streams = says if says is not None else endpoint in OLLAMA_ENDPOINTS
    assert peek(b'{"model":"m","stream":%s}' % stream, endpoint).wants_stream is streams
    assert peek(b'{"model":"m"}', endpoint).wants_stream is (endpoint in OLLAMA_ENDPOINTS)


def test_where_the_path_asks_for_a_stream_the_body_need_not() -> None:
    for body in (b"{}", b'{"stream":false}'):
        assert peek(body, Endpoint.GEMINI_STREAM, "m") == Peeked("m", wants_stream=True)


def test_100_kb_are_read_in_as_many_steps_as_a_megabyte_and_not_looked_into() -> None:
    steps: list[int] = []
    for chars in (50_000, 500_000):
        messages = [{"role": "user", "content": "ü" * chars}]
        body = json.dumps({"messages": messages, "model": "m"}, ensure_ascii=False).encode()
        assert len(body) > 2 * chars
        with CountedCalls() as calls:
            peeked = peek(body, Endpoint.OPENAI_CHAT)
        assert peeked == Peeked("m", wants_stream=False)
        steps.append(calls.count)
    assert steps[0] == steps[1] < 100


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"m"',
        b"1",
        b'{"model":"m"',
        b'{"model":"m"} x',
        b'{"model":"m"}{"model":"n"}',
        b"{'model':'m'}",
        b'\xff\xfe{\x00"\x00',
        b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"x":' * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_json_object_is_refused_as_such(body: bytes) -> None:
    with pytest.raises(BadJson):
        peek(body, Endpoint.OPENAI_CHAT)


@pytest.mark.parametrize(
    "model",
    [
        b'""',
        b"null",
        b"1",
        b"true",
        b'["m"]',
        b'{"id":"m"}',
        rb'"a\nb"',
        rb'"a\u0000"',
        rb'"\u202e"',
        b'"\xff"',
        b'"' + b"m" * (MAX_MODEL_CHARS + 1) + b'"',
    ],
    ids=lambda model: repr(model[:20]),
)
def test_what_is_no_usable_name_is_refused_as_such(model: bytes) -> None:
    with pytest.raises(BadModel):
        peek(b'{"model":%s}' % model, Endpoint.OPENAI_CHAT)


def test_a_model_is_opaque_text_up_to_its_bound() -> None:
    for model in ("m" * MAX_MODEL_CHARS, "hf.co/a/b:Q4_K_M", "@cf/meta/llama", "a b", "../x", "模型"):
        assert check_model(model) == model


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":"a"}', "a"),
        (b'{"name":"b"}', "b"),
        (b'{"model":"","name":"b"}', "b"),
        (b'{"model":"a","name":"b"}', "a"),
    ],
)
def test_ollamas_show_takes_either_name(body: bytes, model: str) -> None:
    assert peek(body, Endpoint.OLLAMA_SHOW).model == model


def test_only_ollamas_show_takes_the_other_name() -> None:
    with pytest.raises(BadModel):
        peek(b'{"name":"b"}', Endpoint.OLLAMA_CHAT)


@given(
    body=st.binary()
    | st.lists(st.sampled_from(['{"model":', '"m"', ",", '"stream":', "true", "}", "[", "{", "\\ud800", " "])).map(
        lambda parts: "".join(parts).encode()
    ),
    endpoint=st.sampled_from(Endpoint),
)
def test_any_bytes_are_read_or_refused(body: bytes, endpoint: Endpoint) -> None:
    try:
        peeked = peek(body, endpoint)
    except CallerError:
        return
    assert peeked.model.isprintable()


NAMES = (
    *("model", "Model", "\\u006dodel", "mod\\u0065l", "MOD\\u004CL", "stream", "STREAM", "\u017ftream", "\\u017Ftream"),
    *("strea\\u006d", "name", "n\\u0061me", "NAME", "caf\\u00e9", "messages"),
)
VALUES = ('"a"', '"b"', "true", "null", '"model"', '{"model":"c"}', '[{"Stream":true,"name":"d"}]', '"\\u00e9"')


def is_refused(fields: list[tuple[str, str]], endpoint: Endpoint) -> bool:
    """By a look at each field: can this be read in two ways?"""
    written = [(json.loads(f'"{name}"'), value) for name, value in fields]
    for wanted in ("model", "stream"):
        those = [(name, value) for name, value in written if name.casefold() == wanted]
        if len({value for _, value in those}) > 1 or (those and wanted not in [name for name, _ in those]):
            return True
    models = [value for name, value in written if name == "model"]
    others = {value for name, value in written if name.casefold() == "name"}
    takes_name = endpoint in {*OLLAMA_ENDPOINTS, Endpoint.OLLAMA_EMBED, Endpoint.OLLAMA_EMBEDDINGS, Endpoint.NATIVE}
    return takes_name and bool(others - {models[-1] if models else ""})


@given(
    fields=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4),
    endpoint=st.sampled_from([endpoint for endpoint in Endpoint if endpoint is not Endpoint.OLLAMA_SHOW]),
)
def test_a_quick_look_refuses_the_same_as_a_look_at_each_field(
    fields: list[tuple[str, str]], endpoint: Endpoint
) -> None:
    body = ",".join(f'"{name}" : {value}' for name, value in fields)
    try:
        peek(f"{{{body}}}".encode(), endpoint, "in the path")
    except CallerError:
        assert is_refused(fields, endpoint)
    else:
        assert not is_refused(fields, endpoint)


def test_half_an_emoji_in_a_prompt_is_no_reason_to_refuse_it() -> None:
    body = rb'{"model":"m","stream":true,"messages":[{"role":"user","content":"cut \ud83d here, \\ud83d not"}]}'
    assert peek(body, Endpoint.OPENAI_CHAT) == Peeked("m", wants_stream=True)


def test_what_sdks_write_and_json_does_not_have_is_no_reason_to_refuse_it() -> None:
    body = b'\xef\xbb\xbf{"model":"m","temperature":NaN,"stream":true,"x":[Infinity,-Infinity]}'
    assert peek(body, Endpoint.OPENAI_CHAT) == Peeked("m", wants_stream=True)


MANY = ",".join(f'"{number}":""' for number in range(MAX_FIELDS - 3))  # each text is kept shorter then
ESCAPED_STREAM = "".join(f"\\u{ord(letter):04x}" for letter in "stream")


@pytest.mark.parametrize(
    ("fields", "endpoint"),
    [
        (r'"model":"gpt-4o-mini-2024-07-18-global-and-more"', Endpoint.OPENAI_CHAT),
        (r'"model":"\u0067\u0070\u0074\u002d\u0034\u006f\u002dpro"', Endpoint.OPENAI_CHAT),
        (r'"model":"%s"' % (r"\u6a21" * 200), Endpoint.OPENAI_CHAT),
        (r'"model":"o1","model":"o\u0031%s"' % ("-pro" * 20), Endpoint.OPENAI_CHAT),
        (f'"model":"m","stream":false,"{ESCAPED_STREAM}":true', Endpoint.OPENAI_CHAT),
        (r'"model":"\u0067\u0070\u0074\u002d\u0034\u006f","name":"gpt-4o%s"' % ("-pro" * 20), Endpoint.OLLAMA_CHAT),
    ],
)
@pytest.mark.parametrize("many", [MANY, '"x":1'])
def test_of_a_large_body_no_part_of_a_name_is_taken_for_all_of_it(fields: str, endpoint: Endpoint, many: str) -> None:
    body = f'{{{many},{fields},"messages":["{"x" * LARGE_BYTES}"]}}'.encode()
    small = at_once(condensed(body, REQUEST_DEPTH))
    assert small is not None
    try:
        peeked = peek(small, endpoint)
    except CallerError:
        return
    assert peeked == peek(body, endpoint)


@pytest.mark.parametrize("field", ["models", "Models", r"mod\u0065ls", "fallbacks", "context_window_fallbacks"])
@pytest.mark.parametrize("messages", ["[]", '["%s"]' % ("x" * LARGE_BYTES)])
def test_who_may_not_ask_every_model_may_name_no_other_beside_its_own(field: str, messages: str) -> None:
    body = f'{{"model":"m","messages":{messages},"{field}":["n"]}}'.encode()
    small = at_once(condensed(body, REQUEST_DEPTH))
    assert small is not None
    assert peek(small, Endpoint.OPENAI_CHAT) == Peeked("m", wants_stream=False)
    with pytest.raises(BadModel, match=r"another model .* Leave it out"):
        peek(small, Endpoint.OPENAI_CHAT, allows_all=False)
    inner = f'{{"model":"m","messages":[{{"{field}":["n"]}}],"x":"{field}"}}'.encode()
    assert peek(inner, Endpoint.OPENAI_CHAT, allows_all=False).model == "m"


@pytest.mark.parametrize(
    "body",
    [
        '{"name":"m","Name":"other"}',
        '{"NAME":"other","name":"m"}',
        '{"name":"m","name":"other"}',
        r'{"name":"m","n\u0061me":"other"}',
        r'{"name":"m","\u004eame":"other"}',
        '{"Name":"m"}',
        '{"model":"","name":"m","Name":"other"}',
    ],
)
def test_a_model_to_be_shown_has_one_name(body: str) -> None:
    with pytest.raises(BadModel):
        peek(body.encode(), Endpoint.OLLAMA_SHOW)


@pytest.mark.parametrize(
    "body", ['{"name":"m"}', '{"model":"m","name":"m"}', '{"model":"","name":"m","x":{"name":"n"}}']
)
def test_a_model_is_shown_by_either_name(body: str) -> None:
    assert peek(body.encode(), Endpoint.OLLAMA_SHOW).model == "m"
