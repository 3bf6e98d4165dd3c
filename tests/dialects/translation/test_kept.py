"""What comes again is read once, means the same, and is bounded."""

import json
import sys
from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import NotTranslatable
from masa_node.dialects.translation import kept as kept_module
from masa_node.dialects.translation.conversation import Role, Text, ToolResult
from masa_node.dialects.translation.kept import (
    MAX_HALF_BYTES,
    MAX_KEPT_BYTES,
    Kept,
    Said,
    joined,
    kept_turns,
)
from masa_node.dialects.translation.losses import Losses
from masa_node.dialects.translation.translator import translate
from tests.dialects.translation.calling import CHAT, MESSAGES, OLLAMA, RESPONSES
from tests.dialects.translation.test_agents import AGENTS


class Reading:
    """Counts what is read."""

    def __init__(self) -> None:
        self.read: list[bytes] = []

    def __call__(self, message: bytes, losses: Losses) -> Said:
        self.read.append(message)
        if b"bad" in message:
            raise NotTranslatable("bad")
        losses.drop("nuance")
        return Role.USER, (Text(message.decode()),)


def raws(*messages: bytes) -> list[msgspec.Raw]:
    return [msgspec.Raw(message) for message in messages]


def test_what_comes_again_is_not_read_again_and_says_again_what_it_leaves_out() -> None:
    reading = Reading()
    turns = kept_turns(reading)
    for _ in range(3):
        losses = Losses()
        one, other = turns.read(raws(b'"a"', b'"b"'), losses)
        assert (one.parts, other.parts, losses.names) == ((Text('"a"'),), (Text('"b"'),), ["nuance"])
    assert reading.read == [b'"a"', b'"b"']


def test_what_is_refused_is_refused_each_time() -> None:
    reading = Reading()
    turns = kept_turns(reading)
    for _ in range(2):
        with pytest.raises(NotTranslatable):
            turns.read(raws(b'"bad"'), Losses())
    assert len(reading.read) == 2


def test_what_is_kept_is_bounded_and_what_is_asked_for_stays() -> None:
    reading = Reading()
    turns = kept_turns(reading)
    message = b'"%s"' % (b"x" * 1_000)
    count = 4 * MAX_HALF_BYTES // 1_000
    for number in range(count):
        turns.read(raws(b"%s%d" % (message, number), b'"stays"'), Losses())
    assert reading.read.count(b'"stays"') == 1
    held = sum(len(key) for half in (turns._values, turns._older) for key in half)
    assert held < 2 * MAX_HALF_BYTES
    assert len(reading.read) == count + 1


def test_a_long_message_is_read_anew() -> None:
    reading = Reading()
    turns = kept_turns(reading)
    long = b'"%s"' % (b"x" * MAX_KEPT_BYTES)
    for _ in range(2):
        (read,) = turns.read(raws(long), Losses())
        assert read.cached is None
    assert len(reading.read) == 2


def test_what_is_let_go_is_gone_without_a_collector() -> None:
    text = Text("here")

    def read(message: bytes, losses: Losses) -> Said:
        return Role.USER, (text, ToolResult("1", "", (text,)))

    before = sys.getrefcount(text)
    turns = kept_turns(read)
    reads = turns.read(raws(b"1", b"2"), Losses())
    joined(reads)
    assert sys.getrefcount(text) > before
    del turns, reads
    assert sys.getrefcount(text) == before


def chat(name: str, result: str) -> bytes:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": "{}"}}
    return json.dumps(
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": result},
            ],
        }
    ).encode()


def test_the_same_result_of_another_tool_has_the_other_name() -> None:
    for name in ("first", "second", "first"):
        body: dict[str, Any] = json.loads(translate(chat(name, "3"), "m", CHAT, OLLAMA).body)
        assert body["messages"][-1]["tool_name"] == name


def test_messages_of_ollamas_clients_without_ids_get_the_ids_of_their_place() -> None:
    def asked(*before: dict[str, Any]) -> list[Any]:
        call = {"function": {"name": "f", "arguments": {}}}
        messages = [
            *before,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "3"},
        ]
        body = json.dumps({"model": "m", "messages": messages}).encode()
        sent = json.loads(translate(body, "m", OLLAMA, CHAT).body)["messages"]
        return [message.get("tool_call_id") or message["tool_calls"][0]["id"] for message in sent[len(before) :]]

    earlier = [{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "g", "arguments": {}}}]}]
    assert asked() == ["call_1", "call_1"]
    assert asked(*earlier, {"role": "tool", "content": "2"}) == ["call_2", "call_2"]
    assert asked() == ["call_1", "call_1"]


@pytest.mark.parametrize("target", [CHAT, MESSAGES, OLLAMA, RESPONSES])
@pytest.mark.parametrize("agent", AGENTS)
def test_a_session_is_the_same_the_second_time(agent: str, target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source, asked = AGENTS[agent]
    if source is target:
        return
    body = json.dumps(asked).encode()
    translate(body, "m", source, target)
    again = translate(body, "m", source, target)

    def anew(kept: Kept[Any], raws: list[msgspec.Raw], losses: Losses) -> list[Any]:
        return [kept._read(bytes(raw), losses) for raw in raws]

    monkeypatch.setattr(kept_module, "MAX_KEPT_BYTES", 0)
    monkeypatch.setattr(Kept, "read", anew)
    fresh = translate(body, "m", source, target)
    assert (again.body, again.headers) == (fresh.body, fresh.headers)


def test_a_later_turn_of_a_session_costs_reading_what_is_new() -> None:
    reading = Reading()
    turns: Kept[Any] = kept_turns(reading)
    session = [b'"%d"' % number for number in range(300)]
    turns.read(raws(*session), Losses())
    turns.read(raws(*session, b'"new"'), Losses())
    assert reading.read == [*session, b'"new"']
