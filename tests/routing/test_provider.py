import asyncio
from collections.abc import Callable

import pytest

from masa_node.chat.request import Headers
from masa_node.routing.provider import Take, Watched


class Response:
    """Gives the same piece again and again."""

    headers: Headers = (("x", "y"),)
    content_type = "application/json"

    def __init__(self, status: int) -> None:
        self.status = status

    async def read_piece(self) -> bytes:
        return b"piece"

    def listen(self, came: Callable[[], None] | None, take: Take | None = None) -> None:
        """Nothing is given without a task."""

    def take_now(self) -> bytes | None:
        return b""

    async def read_trailer(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("status", "signs"), [(200, 3), (206, 3), (199, 0), (302, 0), (404, 0), (503, 0)])
def test_the_head_and_each_read_of_a_success_are_signs_of_life_and_nothing_of_an_error_is(
    status: int, signs: int
) -> None:
    seen: list[None] = []
    watched = Watched(Response(status), lambda: seen.append(None))
    for _ in range(2):
        assert asyncio.run(watched.read_piece()) == b"piece"
    assert len(seen) == signs


def test_once_the_first_piece_is_there_nobody_is_told_any_more() -> None:
    seen: list[None] = []
    watched = Watched(Response(200), lambda: seen.append(None))
    watched.done()
    assert asyncio.run(watched.read_piece()) == b"piece"
    assert len(seen) == 1


def test_it_is_the_same_response() -> None:
    watched = Watched(Response(404), lambda: None)
    assert (watched.status, watched.headers, watched.content_type) == (404, Response.headers, "application/json")
