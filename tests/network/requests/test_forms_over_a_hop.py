"""A form and a sound over a hop: what the LLM server is given, and what the caller is.

Covers: `body_check`, `response_reader`, `response_writer`.
"""

import asyncio
from dataclasses import dataclass, field

import msgspec
import pytest

from masa_node.chat.answer import Answer, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.errors import BrokenAnswer, PeerRefused, ProviderError
from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint, Request
from masa_node.network.requests.body_check import check_body
from masa_node.routing.provider import Sign, no_sign
from tests.dialects.passed import test_forms as forms
from tests.network.requests.request_world import LIMITS, Node, ask, world
from tests.virtual_time import virtual_time

TRANSCRIPTIONS = Endpoint.OPENAI_TRANSCRIPTIONS
FORM = forms.form((forms.FILE, forms.SOUND), forms.field("model", b"tiny"))
HEADERS = (("content-type", forms.TYPE),)


@dataclass
class Ears:
    """An LLM that gives this answer, and keeps what it was asked."""

    answers: bytes
    kind: str
    name: str = "ears"
    location: str = "ears"
    is_local: bool = True
    is_trusted: bool = True
    is_hosted: bool = False
    priority: int = 0
    asked: list[Request] = field(default_factory=list)

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        del sign
        self.asked.append(request)
        return WholeAnswer(200, (("content-type", self.kind),), self.answers, DIALECT_OF_ENDPOINT[request.endpoint])


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("text/plain; charset=utf-8", b"Hi.\n"),
        ("text/vtt", b"WEBVTT\n\n"),
        ("application/json", b'{"text":"Hi."}'),
        ("audio/mpeg", b"ID3\x04\0\0"),
    ],
)
@virtual_time
async def test_a_form_and_its_answer_cross_byte_for_byte(kind: str, answers: bytes) -> None:
    ears = Ears(answers, kind)
    request = ask(FORM, endpoint=TRANSCRIPTIONS, wants_stream=False, headers=HEADERS)
    async with world(Node((ears,)).serve) as here:
        answer = await here.peer.answer(request)
        body = answer.body if isinstance(answer, WholeAnswer) else answer.first + await answer.next_piece()
    assert (body, answer.headers) == (answers, (("content-type", kind),))
    assert [(asked.body, asked.headers[0]) for asked in ears.asked] == [(FORM, HEADERS[0])]


@virtual_time
async def test_a_form_may_be_larger_than_other_bodies() -> None:
    ears = Ears(b"Hi.", "text/plain")
    limits = msgspec.structs.replace(LIMITS, max_body_bytes=len(FORM) - 1, max_form_bytes=len(FORM))
    asked = ask(FORM, endpoint=TRANSCRIPTIONS, wants_stream=False, headers=HEADERS)
    async with world(Node((ears,), limits).serve) as here:
        assert isinstance(await here.peer.answer(asked), WholeAnswer)
    small = msgspec.structs.replace(limits, max_form_bytes=len(FORM) - 1)
    async with world(Node((ears,), small).serve) as here:
        with pytest.raises(PeerRefused, match=str(len(FORM) - 1)):
            await here.peer.answer(asked)
    assert len(ears.asked) == 1
    async with world(Node((ears,), limits).serve) as here:
        with pytest.raises(PeerRefused, match="larger"):
            await here.peer.answer(ask(b'{"model":"tiny"' + b" " * len(FORM) + b"}"))


@dataclass
class Voice(Ears):
    """One that gives a sound piece by piece, and breaks where it is told to."""

    is_cut: bool = False
    heard: list[bytes] = field(default_factory=list)

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        del request, sign
        pieces = iter([b"\xff\xfb\n\n", b"data: x\n\n"])

        async def next_piece() -> bytes:
            await asyncio.sleep(1.0)
            self.heard.append(piece := next(pieces, b""))
            if not piece and self.is_cut:
                raise BrokenAnswer("cut")
            return piece

        return StreamedAnswer(
            200,
            (("content-type", self.kind),),
            DIALECT_OF_ENDPOINT[Endpoint.OPENAI_SPEECH],
            self.answers,
            next_piece,
            lambda: None,
            lambda: 1,
            Usage(),
            is_framed=False,
        )


@pytest.mark.parametrize("is_cut", [False, True])
@virtual_time
async def test_a_sound_crosses_piece_by_piece_and_a_cut_one_is_cut(*, is_cut: bool) -> None:
    voice = Voice(b"ID3\x04\0", "audio/mpeg", is_cut=is_cut)
    async with world(Node((voice,)).serve) as here:
        answer = await here.peer.answer(
            ask(endpoint=Endpoint.OPENAI_SPEECH, wants_stream=False, body=b'{"model":"tiny"}')
        )
        assert isinstance(answer, StreamedAnswer)
        assert (answer.first, answer.is_framed, answer.headers) == (
            b"ID3\x04\0",
            False,
            (("content-type", "audio/mpeg"),),
        )
        assert voice.heard == []
        got = [await answer.next_piece(), await answer.next_piece()]
        assert got == [b"\xff\xfb\n\n", b"data: x\n\n"]
        if is_cut:
            with pytest.raises(BrokenAnswer):
                await answer.next_piece()
        else:
            assert await answer.next_piece() == b""
        assert answer.is_whole() is not is_cut


@virtual_time
async def test_a_strangers_page_never_becomes_one_at_this_node() -> None:
    ears = Ears(b"alert(1)", "text/javascript")
    request = ask(FORM, endpoint=TRANSCRIPTIONS, wants_stream=False, headers=HEADERS)
    async with world(Node((ears,)).serve) as here:
        answer = await here.peer.answer(request)
    assert answer.headers == (("content-type", "application/json"),)


@pytest.mark.parametrize("body", [FORM + FORM, FORM.replace(b"tiny", b"other"), FORM.replace(b"\r\n", b"\n")])
@virtual_time
async def test_a_form_that_may_ask_for_another_model_is_refused(body: bytes) -> None:
    ears = Ears(b"Hi.", "text/plain")
    async with world(Node((ears,)).serve) as here:
        with pytest.raises(ProviderError):
            await here.peer.answer(ask(body, endpoint=TRANSCRIPTIONS, wants_stream=False, headers=HEADERS))
    assert ears.asked == []


def test_a_form_is_none_where_none_may_be() -> None:
    with pytest.raises(PeerRefused):
        check_body(FORM, Endpoint.OPENAI_CHAT, "tiny", wants_stream=False)
    with pytest.raises(PeerRefused):
        check_body(FORM, TRANSCRIPTIONS, "tiny", wants_stream=True, form=forms.TYPE)
    check_body(FORM, TRANSCRIPTIONS, "tiny", wants_stream=False, form=forms.TYPE)
