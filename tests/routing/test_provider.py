import contextlib
from collections.abc import Callable

import pytest

from masa_node.chat.answer import StreamedAnswer
from masa_node.chat.errors import ProviderError
from masa_node.chat.request import DialectName, Headers
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers.reader import take_answer
from masa_node.routing.provider import Sign, Taker

COMMENT = b": wait\n\n"
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
HALVES = (b'{"choices":[{"index":0,"message":', b'{"content":"hi"},"finish_reason":"stop"}]}')
OPENAI = DIALECTS[DialectName.OPENAI]


class Response:
    """Gives these pieces, one after the other."""

    headers: Headers = (("x", "y"),)
    content_type = "application/json"

    def __init__(self, status: int, *pieces: bytes) -> None:
        self.status = status
        self._pieces = list(pieces)

    async def read_piece(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        """Nothing is given without a task."""

    def take_now(self) -> bytes | None:
        return b""

    async def read_trailer(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def noting() -> tuple[list[None], Sign]:
    seen: list[None] = []
    return seen, lambda: seen.append(None)


@pytest.mark.parametrize(("status", "signs"), [(200, 3), (206, 3), (199, 0), (302, 0), (404, 0), (503, 0)])
async def test_the_head_and_each_read_of_a_success_are_signs_of_life_and_nothing_of_an_error_is(
    status: int, signs: int
) -> None:
    seen, sign = noting()
    with contextlib.suppress(ProviderError):
        await take_answer(Response(status, COMMENT, CHUNK), OPENAI, is_stream=True, sign=sign)
    assert len(seen) == signs


async def test_so_is_the_end_of_an_answer_in_one_piece() -> None:
    seen, sign = noting()
    await take_answer(Response(200, *HALVES), OPENAI, is_stream=False, sign=sign)
    assert len(seen) == 4


async def test_once_the_first_piece_is_there_nobody_is_told_any_more() -> None:
    seen, sign = noting()
    answer = await take_answer(Response(200, CHUNK, CHUNK), OPENAI, is_stream=True, sign=sign)
    assert isinstance(answer, StreamedAnswer)
    assert await answer.next_piece() == CHUNK
    assert len(seen) == 2
