"""A request's body: whole, within its bounds, or one of four errors."""

import asyncio
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.api.http1.request import ClientDisconnected, Head, HttpRequest
from masa_node.api.request_body import BODY_TIMEOUT_S, HeldBody, read_body
from masa_node.chat.errors import BodyTooLarge, BodyTooSlow, EncodedBody
from masa_node.routing.answers.byte_budget import ByteBudget
from tests.api.bodies import coming
from tests.virtual_time import now_s, virtual_time

MAX = 100


async def read(request: HttpRequest) -> bytes:
    with HeldBody(ByteBudget(sys.maxsize)) as held:
        return await read_body(request, held, MAX)


@given(st.lists(st.binary(max_size=30), max_size=3))
async def test_any_pieces_make_the_same_body(pieces: list[bytes]) -> None:
    assert await read(coming(*pieces)) == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[b"x" * 101], [b"x" * 100, b"y"], [b"x"] * 101])
async def test_more_than_the_bound_is_too_large_however_it_comes(pieces: list[bytes]) -> None:
    with pytest.raises(BodyTooLarge, match="MAX_BODY"):
        await read(coming(*pieces))


@pytest.mark.parametrize("length", [101, 2**64 - 1])
async def test_what_is_announced_too_large_is_not_read(length: int) -> None:
    with pytest.raises(BodyTooLarge):
        await read(coming(length=length))


@pytest.mark.parametrize("coding", [b"gzip", b"identity, gzip", b"GZIP", b"\xff", b"x"])
async def test_a_coding_is_refused_unread(coding: bytes) -> None:
    with pytest.raises(EncodedBody, match="enable_request_compression"):
        await read(coming(headers=[(b"content-encoding", coding)]))


@pytest.mark.parametrize("coding", [b"identity", b" Identity ", b""])
async def test_no_coding_is_taken(coding: bytes) -> None:
    assert await read(coming(b"x", headers=[(b"content-encoding", coding)])) == b"x"


async def test_who_leaves_within_his_body_is_gone() -> None:
    with pytest.raises(ClientDisconnected):
        await read(coming(b"x", ends=False))


@pytest.mark.parametrize("first", [b"", b"x"])
@virtual_time
async def test_a_body_that_does_not_come_is_too_slow(first: bytes) -> None:
    request = HttpRequest(Head("POST", b"/", ()), None, lambda: None)
    if first:
        request.feed(first)
    with pytest.raises(BodyTooSlow, match=f"{BODY_TIMEOUT_S:g} s"):
        await read(request)
    assert now_s() == pytest.approx(BODY_TIMEOUT_S)


@virtual_time
async def test_dripping_does_not_lengthen_the_time() -> None:
    def drip() -> None:
        request.feed(b"x")
        loop.call_later(2, drip)

    loop = asyncio.get_running_loop()
    request = HttpRequest(Head("POST", b"/", ()), None, drip)
    with pytest.raises(BodyTooSlow):
        await read(request)
    assert now_s() == pytest.approx(BODY_TIMEOUT_S)
