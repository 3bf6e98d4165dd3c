import pytest

from masa_node.dialects.framing import is_aside, is_heartbeat, is_heartbeat_name


@pytest.mark.parametrize("name", ["ping", "PING", "keepalive", "keep-alive", "keep_alive", "heartbeat", "stream.ping"])
def test_a_heartbeat_is_known_by_its_name(name: str) -> None:
    assert is_heartbeat_name(name)
    assert is_heartbeat_name(name.encode())
    assert is_heartbeat(b'{"type":"%s"}' % name.encode())
    assert is_heartbeat(b'{"event":"%s","timestamp":1}' % name.encode())
    assert is_heartbeat(b'{"%s":true}' % name.encode())
    assert is_heartbeat(name.encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"{ }", b"null", b"[]", b'""', b" {\r\n} "])
def test_what_says_nothing_is_a_heartbeat(data: bytes) -> None:
    assert is_heartbeat(data)


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b'{"x":1}',
        b'{"type":"message_start"}',
        b'{"id":"1"}',
        b'{"response":"ping"}',
        b"<html>",
        b"{",
        b"\xff",
        b'{"type":"ping","x":"' + b"y" * 1_000 + b'"}',
    ],
)
def test_anything_else_is_none(data: bytes) -> None:
    assert not is_heartbeat(data)


def test_names_that_only_hold_such_a_word_are_none() -> None:
    assert not is_heartbeat_name("shipping")
    assert not is_heartbeat_name("ping" * 1_000)
    assert not is_heartbeat_name("")


# ---- what is beside an answer ----


ASIDES = [
    b'{"status":"queued","position":3}',
    b'{"id":"x","model":"m","created":1}',
    b'{"prompt_progress":{"total":10,"processed":3}}',
    b'{"type":"noop"}',
    b'{"usage":null}',
    b'{"choices":null}',
    b'{"status":"waiting","message":"place 3"}',
    b'{"done":false}',
]


@pytest.mark.parametrize("aside", ASIDES)
def test_an_object_without_words_or_errors_is_an_aside(aside: bytes) -> None:
    assert is_aside(aside)
    assert not is_aside(aside[:-1])


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"7",
        b'["a"]',
        b'{"message":"Internal error"}',
        b'{"message":{"content":"hi"},"done":false}',
        b'{"response":"hi"}',
        b'{"type":"message_start"}',
        b'{"type":"response.created"}',
        b'{"token":{"text":"hi"}}',
        b'{"detail":"Not authenticated"}',
        b'{"error":"x"}',
        b'{"candidates":[{}]}',
        b'{"x":"' + b"y" * 20_000 + b'"}',
    ],
)
def test_what_may_be_an_answer_or_an_error_is_no_aside(data: bytes) -> None:
    assert not is_aside(data)
