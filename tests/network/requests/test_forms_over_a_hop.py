"""A form and a sound over a hop: what the LLM server is given, and what the caller is.

Covers: `body_check`, `response_reader`.
"""

from dataclasses import dataclass, field

import pytest

from masa_node.chat.answer import Answer, WholeAnswer
from masa_node.chat.errors import PeerRefused, ProviderError
from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint, Request
from masa_node.network.requests.body_check import check_body
from masa_node.routing.provider import Sign, no_sign
from tests.dialects.passed import test_forms as forms
from tests.network.requests.request_world import Node, ask, world
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
    assert isinstance(answer, WholeAnswer)
    assert (answer.body, answer.headers) == (answers, (("content-type", kind),))
    assert [(asked.body, asked.headers[0]) for asked in ears.asked] == [(FORM, HEADERS[0])]


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
