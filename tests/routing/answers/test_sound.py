import pytest

from masa_node.chat.answer import StreamedAnswer, WholeAnswer
from masa_node.chat.errors import BrokenAnswer, ProviderError
from masa_node.chat.request import DialectName
from tests.routing.answers.test_odd_answers import body_of, take

ID3, FRAME = b"ID3\x04\0", b"\xff\xfb\n\ndata: [DONE]\n\n"
AUDIO = DialectName.OPENAI_AUDIO


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("label", ["audio/mpeg", "audio/wav", "audio/pcm"])
async def test_a_sound_is_given_as_it_comes(label: str, *, is_stream: bool) -> None:
    answer = await take(ID3, FRAME, ID3, dialect=AUDIO, label=label, is_stream=is_stream)
    assert isinstance(answer, StreamedAnswer)
    assert (answer.first, answer.is_framed, answer.is_whole()) == (ID3, False, False)
    assert await answer.next_piece() == FRAME
    assert (answer.frames(), answer.received()) == (2, len(ID3 + FRAME))
    assert [await answer.next_piece(), await answer.next_piece(), await answer.next_piece()] == [ID3, b"", b""]
    assert answer.is_whole()


async def test_a_sound_that_is_cut_is_broken() -> None:
    answer = await take(ID3, BrokenAnswer("cut"), dialect=AUDIO, label="audio/mpeg")
    assert isinstance(answer, StreamedAnswer)
    with pytest.raises(BrokenAnswer):
        await answer.next_piece()
    assert not answer.is_whole()


@pytest.mark.parametrize("label", ["text/plain", "application/octet-stream", ""])
async def test_what_is_not_said_to_be_a_sound_is_held_until_it_is_whole(label: str) -> None:
    answer = await take(b"Hi.", b"\n", dialect=AUDIO, label=label, is_stream=False)
    assert isinstance(answer, WholeAnswer)
    assert answer.body == b"Hi.\n"


async def test_events_and_errors_are_what_they_are_whatever_their_head_says() -> None:
    event = b'data: {"type":"speech.audio.delta","audio":"AA=="}\n\n'
    done = b'data: {"type":"speech.audio.done"}\n\n'
    answer = await take(event, done, dialect=AUDIO, label="audio/mpeg")
    assert isinstance(answer, StreamedAnswer)
    assert answer.is_framed
    assert await body_of(answer) == event + done
    with pytest.raises(ProviderError, match="no such voice"):
        await take(b'{"error":{"message":"no such voice"}}', dialect=AUDIO, label="audio/mpeg")
    with pytest.raises(ProviderError):
        await take(dialect=AUDIO, label="audio/mpeg")
