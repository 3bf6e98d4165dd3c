"""What is kept with a head changes no answer: the same on one connection as on a new one for each request."""

import asyncio
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masa_node.api.app import App
from masa_node.api.entry import new_id, own_id_of
from masa_node.api.guard import Guard, GuardRules
from masa_node.chat.answer import WholeAnswer
from masa_node.chat.offer import ModelOffer
from masa_node.chat.outcome import Outcome
from masa_node.chat.request import DialectName, Endpoint, Request
from masa_node.node.node import Node
from masa_node.node.settings.environment import read_settings
from masa_node.routing.provider import Sign, no_sign
from masa_node.upstreams.http.client import HttpClient
from tests.api.http1.fake_line import FakeLine
from tests.api.raw_http import chat

_OF_EACH = re.compile(rb"(?<=date: )[^\r]*|(?<=request-id: )[0-9a-f]{16}|(?<=ms=)\d+|[0-9a-f]{16}(?=\"})")


GUARDS = {key: Guard(GuardRules(tuple(filter(None, [key])), ("there",), ("https://page",))) for key in ("", "a", "b")}


class Telling:
    """A provider that answers with what it was asked."""

    name, location, label, note = "telling", "telling (here)", "telling", ""
    is_local = True

    def __init__(self) -> None:
        self.invalidation = asyncio.Event()

    async def offers(self) -> list[ModelOffer]:
        return [ModelOffer("m", frozenset(Endpoint))]

    async def answer(self, request: Request, sign: Sign = no_sign) -> WholeAnswer:
        told = (request.endpoint, request.race, request.privacy, request.may_translate, request.query, request.headers)
        return WholeAnswer(200, (("content-type", "application/json"),), repr(told).encode(), DialectName.OPENAI)


class Answering:
    """The application of a node with that provider, and what it reports."""

    def __init__(self, folder: Path) -> None:
        node = Node(read_settings({"MASA_DIR": os.devnull, "PRIVACY": "trusted"}, folder / ".env"), HttpClient())
        provider = Telling()
        node.add(provider)
        node.catalog.put(provider, [ModelOffer("m", frozenset(Endpoint))])
        self.outcomes: list[Outcome] = []
        node.app._chat._observe = self.outcomes.append
        self.app: App = node.app

    async def one_after_the_other(self, asked: list[tuple[bytes, str]], *, share: bool) -> list[bytes]:
        """The answers, and each time the guard lets in who has that key ("" means anybody)."""
        line, answers = FakeLine(self.app), []
        for raw, key in asked:
            self.app.guard = GUARDS[key]
            if not share or line.transport.is_closing() or line.transport.has_ended:
                line.leave()
                line = FakeLine(self.app)
            before = len(line.answered)
            line.send(raw)
            await line.settled()
            answers.append(_OF_EACH.sub(b"...", line.answered[before:]))
        line.leave()
        return answers


HEADERS = [b"Authorization: Bearer a", b"Authorization: Bearer b", b"X-Api-Key: a", b"Origin: https://page"]
HEADERS += [b"Origin: https://other", b"X-Masa-Race: all;width=2", b"X-Masa-Race: nonsense", b"X-Masa-Privacy: local"]
HEADERS += [
    b"X-Masa-Privacy: any",
    b"X-Masa-Strict: 1",
    b"X-Masa-Strict: maybe",
    b"X-Masa-Via: peer",
    b"X-Request-Id: mine",
]
HEADERS += [b"anthropic-version: 2023-06-01", b"anthropic-beta: x", b"traceparent: 00-1", b"Content-Encoding: gzip"]
HEADERS += [b"X-Masa-Format: ollama", b"Cookie: secret", b"Access-Control-Request-Headers: x-a"]
TARGETS = [b"/v1/chat/completions", b"/v1/chat/completions?beta=true&key=1", b"/v1//chat/completions", b"/v1/messages"]
TARGETS += [b"/api/chat", b"/api/show", b"/accounts/0/ai/run/m", b"/accounts/0/ai/run/n", b"/api/v1/chat"]
TARGETS += [b"/v1/models/m", b"/v1/models/n", b"/healthz", b"/nowhere", b"/accounts/1/ai/v1/chat/completions"]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    lines = [b"Host: %b" % draw(st.sampled_from([b"localhost", b"localhost", b"there", b"evil"]))]
    lines += draw(st.lists(st.sampled_from(HEADERS), max_size=3))
    body = draw(st.sampled_from([chat("m"), chat("m", say="longer"), chat("n"), b"{", b""]))
    method = draw(st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"HEAD", b"OPTIONS"]))
    lines.append(b"Content-Length: %d" % len(body))
    head = b"%b %b HTTP/1.1\r\n" % (method, draw(st.sampled_from(TARGETS)))
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def test_one_connection_for_all_gives_the_same_as_one_each(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        answering = runner.run(_made(tmp_path))

        a_key = st.sampled_from(["", "a", "b"])
        one_key = a_key.map(lambda key: [key] * 6)

        @settings(deadline=None)
        @given(st.lists(requests(), min_size=1, max_size=2), one_key | st.lists(a_key, min_size=6, max_size=6))
        def compare(few: list[bytes], keys: list[str]) -> None:
            asked = list(zip([*few * 2, *few[:1] * 2], keys, strict=False))
            told: list[object] = []
            for share in (True, False):
                answering.outcomes.clear()
                answers = runner.run(answering.one_after_the_other(asked, share=share))
                errors = [(outcome.endpoint, outcome.status, outcome.error) for outcome in answering.outcomes]
                told.append((answers, errors))
            assert told[0] == told[1]

        compare()


async def _made(folder: Path) -> Answering:
    return Answering(folder)


POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a\r\nOrigin: https://page\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)


async def test_a_head_is_judged_once_by_each_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering, judged = Answering(tmp_path), 0
    true_check = Guard.check_host_and_origin

    def counted(self: Guard, headers: object) -> bytes | None:
        nonlocal judged
        judged += 1
        return true_check(self, headers)  # type: ignore[arg-type]

    monkeypatch.setattr(Guard, "check_host_and_origin", counted)
    asked = [POST % (len(body), body) for body in (chat("m"), chat("m", say="more"), chat("n"))]
    answers = await answering.one_after_the_other([(raw, "a") for raw in asked * 3], share=True)
    assert ([answer[9:12] for answer in answers], judged) == ([b"200", b"200", b"503"] * 3, 1)
    assert all(b"\r\naccess-control-allow-origin: https://page\r\n" in answer for answer in answers)
    answers = await answering.one_after_the_other([(raw, key) for raw in asked[:2] for key in "aba"], share=True)
    assert [answer[9:12] for answer in answers] == [b"200", b"401", b"200"] * 2


async def test_an_id_that_the_node_makes_is_never_given_twice(tmp_path: Path) -> None:
    answering = Answering(tmp_path)
    line = FakeLine(answering.app)
    answering.app.guard = GUARDS[""]
    for _ in range(5):
        line.send(POST % (len(chat("m")), chat("m")))
        await line.settled()
    line.leave()
    ids = re.findall(rb"x-request-id: ([0-9a-f]{16})\r", line.answered)
    assert (len(ids), len(set(ids))) == (5, 5)


def test_an_id_of_the_callers_is_a_short_plain_word() -> None:
    assert own_id_of([(b"x", b"y"), (b"x-request-id", b"A.b_c-9")]) == "A.b_c-9"
    assert own_id_of([(b"x-request-id", b"a b"), (b"x", b"y")]) is None
    assert re.fullmatch(r"[0-9a-f]{16}", new_id())
