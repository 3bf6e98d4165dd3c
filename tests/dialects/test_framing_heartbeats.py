import pytest

from masa_node.dialects.framing import is_heartbeat, is_heartbeat_name


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
