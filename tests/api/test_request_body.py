"""A request's body: whole, within its bounds, or one of four errors."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.api.request_body import BODY_TIMEOUT_S, ClientDisconnected, read_body
from masa_node.api.responses import AsgiMessage, Receive
from masa_node.chat.errors import BodyTooLarge, BodyTooSlow, EncodedBody
from tests.virtual_time import now_s, virtual_time

MAX = 100


def receiving(pieces: Sequence[bytes], *, ends: bool = True) -> Receive:
    """An ASGI `receive` of these pieces; without an end the caller leaves after them."""
    left: list[AsgiMessage] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    left.append({"type": "http.request"} if ends else {"type": "http.disconnect"})

    async def receive() -> AsgiMessage:
        return left.pop(0)

    return receive


@given(st.lists(st.binary(max_size=30), max_size=3))
async def test_any_pieces_make_the_same_body(pieces: list[bytes]) -> None:
    assert await read_body({"headers": []}, receiving(pieces), MAX) == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[b"x" * 101], [b"x" * 100, b"y"], [b"x"] * 101])
async def test_more_than_the_bound_is_too_large_however_it_comes(pieces: list[bytes]) -> None:
    with pytest.raises(BodyTooLarge, match="MAX_BODY"):
        await read_body({"headers": []}, receiving(pieces), MAX)


@pytest.mark.parametrize("length", [b"101", b"9" * 4000])
async def test_what_is_announced_too_large_is_not_read(length: bytes) -> None:
    with pytest.raises(BodyTooLarge):
        await read_body({"headers": [(b"content-length", length)]}, receiving([]), MAX)


@pytest.mark.parametrize("coding", [b"gzip", b"identity, gzip", b"GZIP", b"\xff", b"x"])
async def test_a_coding_is_refused_unread(coding: bytes) -> None:
    with pytest.raises(EncodedBody):
        await read_body({"headers": [(b"content-encoding", coding)]}, receiving([]), MAX)


@pytest.mark.parametrize("coding", [b"identity", b" Identity ", b""])
async def test_no_coding_is_taken(coding: bytes) -> None:
    assert await read_body({"headers": [(b"content-encoding", coding)]}, receiving([b"x"]), MAX) == b"x"


async def test_who_leaves_within_his_body_is_gone() -> None:
    with pytest.raises(ClientDisconnected):
        await read_body({"headers": []}, receiving([b"x"], ends=False), MAX)


@pytest.mark.parametrize("first", [b"", b"x"])
@virtual_time
async def test_a_body_that_does_not_come_is_too_slow(first: bytes) -> None:
    async def receive() -> AsgiMessage:
        if not came:
            came.append(first)
            return {"type": "http.request", "body": first, "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    came: list[bytes] = [b""][: not first]  # nothing at all comes, or one piece
    with pytest.raises(BodyTooSlow, match=f"{BODY_TIMEOUT_S:g} s"):
        await read_body({"headers": []}, receive, MAX)
    assert now_s() == pytest.approx(BODY_TIMEOUT_S)


@virtual_time
async def test_dripping_does_not_lengthen_the_time() -> None:
    async def receive() -> AsgiMessage:
        await asyncio.sleep(2)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(BodyTooSlow):
        await read_body({"headers": []}, receive, MAX)
    assert now_s() == pytest.approx(BODY_TIMEOUT_S)
