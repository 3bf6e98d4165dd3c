"""Another model's name is put in the place of the one that was asked for, and no other byte is touched."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.request import Endpoint
from masa_node.dialects.bodies.peek import body_renamed, listing_renamed, peek
from masa_node.dialects.condensing import STEP_BYTES, at_once
from tests.dialects import recorded
from tests.dialects.recorded import Body

CHAT = Endpoint.OPENAI_CHAT
NAMED = [request for request in recorded.requests() if "model" in request.json or "name" in request.json]


def renamed(body: bytes, endpoint: Endpoint = CHAT, asked: str = "gpt-4o", model: str = "llama3.2") -> bytes:
    return at_once(body_renamed(body, endpoint, asked, model))


@pytest.mark.parametrize("request_", NAMED, ids=str)
def test_of_every_recorded_request_only_the_name_changes(request_: Body) -> None:
    asked = peek(request_.raw, request_.endpoint).model
    changed = renamed(request_.raw, request_.endpoint, asked, "other:1b")
    old, new = json.dumps(asked).encode(), b'"other:1b"'
    assert peek(changed, request_.endpoint).model == "other:1b"
    before, _, behind = changed.partition(new)
    assert request_.raw == before + old + behind


@pytest.mark.parametrize(
    ("before", "written", "behind"),
    [
        ('{"model":', '"gpt-4o"', "}"),
        ('\ufeff{"model":', '"gpt-4o"', "}"),
        (' \n{ "n" : [1, {"model": "gpt-4o"}] ,\t"model" \r\n:\n ', '"gpt-4o"', ' , "x": "gpt-4o", "y":NaN} \n'),
        ('{"a":"\\"model\\":\\"gpt-4o\\"","\\u006dodel": ', '"gpt\\u002d4o"', ',"s":"\\ud83d"}'),
        ('{"metadata":{"model":"gpt-4o"},"tools":["model"],"model":', '"gpt-4o"', "}"),
        ('{"ünï":"ödel 😀","model":', '"gpt-4o"', ',"b":"😀"}'),
        ('{"pad":"' + "x" * 300_000 + '","model":', '"gpt-4o"', ',"z":[' + "[1]," * 90_000 + "2]}"),
        ("{" + " " * 50_000 + '"model"' + " " * 50_000 + ":" + "\n" * 50_000, '"gpt-4o"', " " * 50_000 + "}"),
    ],
)
def test_only_the_value_at_the_top_is_replaced(before: str, written: str, behind: str) -> None:
    assert renamed((before + written + behind).encode()) == (before + '"llama3.2"' + behind).encode()


def test_a_name_that_is_there_twice_is_replaced_twice() -> None:
    body = b'{"model":"gpt-4o","Model": "gpt\\u002d4o" ,"name":"gpt-4o"}'
    assert renamed(body) == b'{"model":"llama3.2","Model": "llama3.2" ,"name":"gpt-4o"}'
    both = b'{"model":"llama3.2","Model": "llama3.2" ,"name":"llama3.2"}'
    assert renamed(body, Endpoint.OLLAMA_CHAT) == both


def test_what_ollamas_command_sends_to_see_a_model_is_understood() -> None:
    body = b'{"model":"","name":"gpt-4o"}'
    assert renamed(body, Endpoint.OLLAMA_SHOW) == b'{"model":"","name":"llama3.2"}'


def test_values_that_are_no_text_or_another_name_stay() -> None:
    for body in (b'{"model":1}', b'{"model":"x"}', b'{"model":null,"a":[]}', b"{}", b"[1]", b""):
        assert renamed(body) == body


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20), st.booleans())
def test_any_name_can_take_the_place_of_any_other(asked: str, model: str, is_ascii: bool) -> None:  # noqa: FBT001
    body = {"a": {"model": asked}, "model": asked, asked + "_": asked}
    raw = json.dumps(body, ensure_ascii=is_ascii).encode()
    assert json.loads(renamed(raw, CHAT, asked, model)) == body | {"model": model}


def test_many_fields_are_looked_at_in_steps() -> None:
    body = b"{" + b"".join(b'"k%d":1,' % number for number in range(20_000)) + b'"model":"gpt-4o"}'
    steps = body_renamed(body, CHAT, "gpt-4o", "m")
    assert sum(1 for _ in steps) > 20
    assert renamed(body) == body.replace(b'"gpt-4o"', b'"llama3.2"')


def test_megabytes_of_spaces_are_looked_at_in_steps() -> None:
    body = b'{"model"' + b" " * 1_000_000 + b":" + b"\n" * 1_000_000 + b'"gpt-4o"}'
    assert sum(1 for _ in body_renamed(body, CHAT, "gpt-4o", "m")) > 2_000_000 / STEP_BYTES
    assert renamed(body) == body.replace(b'"gpt-4o"', b'"llama3.2"')


def test_an_entry_of_a_list_is_renamed_whatever_its_name_was() -> None:
    entry = b'{"name":"a:latest","model":"a","details":{"parent_model":"a"},"size":1}'
    assert listing_renamed(entry, "b") == b'{"name":"b","model":"b","details":{"parent_model":"a"},"size":1}'
    assert msgspec.json.decode(listing_renamed(b"{}", "b")) == {}
