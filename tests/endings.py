"""How a request of the built-in model ended: whole, in a true error, in a stream that tells of its end, or else."""

import asyncio
import json
from typing import NewType

Ending = NewType("Ending", str)

WHOLE, ERROR, BROKEN = Ending("a whole answer"), Ending("an error"), Ending("a stream that tells of its end")
FINISHED = Ending("all of an answer, without the [DONE] behind it")  # docs/decisions/0014: the reason is what counts
TRUE = frozenset({WHOLE, FINISHED, ERROR, BROKEN})
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


async def ask(host: str, port: int, begun: asyncio.Semaphore | None) -> Ending:
    """Ask for a stream, and tell that it has begun; or, with None, for a whole answer."""
    is_stream = begun is not None
    body = json.dumps({"model": "masa-demo", "messages": HELLO, "stream": is_stream}).encode()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        first = await reader.read(1)
        if begun is not None:
            begun.release()
        return ending_of(first + await reader.read(-1))
    except OSError as exc:
        return Ending(f"the connection broke: {exc!r}")
    finally:
        writer.close()


def ending_of(answer: bytes) -> Ending:
    """How this answer, read to the end of its connection, ended."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    status = int(head.split(b" ")[1]) if head else 0
    is_chunked = fields.get(b"transfer-encoding") == b"chunked"
    text, is_complete = dechunked(rest) if is_chunked else (rest, len(rest) == int(fields.get(b"content-length", -1)))
    if status == 200 and is_complete:
        is_whole = text.endswith(b"data: [DONE]\n\n") if is_chunked else isinstance(json.loads(text), dict)
        if is_whole and b'"finish_reason":"stop"' in text:
            return WHOLE
        return FINISHED if is_chunked and is_finished(text) else Ending(f"cut, and clean: {text[-99:]!r}")
    if status == 200 and is_chunked and b'"error"' in text.rpartition(b"data: ")[2] and b"[DONE]" not in text:
        return BROKEN
    if status in (502, 503, 504) and is_complete and "message" in json.loads(text)["error"]:
        return ERROR
    return Ending(f"{status}, complete: {is_complete}, ends with {text[-99:]!r}")


def is_finished(text: bytes) -> bool:
    """Is its last frame the one that says why the only choice has ended?"""
    last = text.rstrip().rpartition(b"\n\n")[2].removeprefix(b"data: ")
    try:
        return text.endswith(b"\n\n") and json.loads(last)["choices"][0]["finish_reason"] == "stop"
    except (ValueError, LookupError, TypeError):
        return False


def dechunked(body: bytes) -> tuple[bytes, bool]:
    """The text, and whether its last chunk came."""
    parts: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return b"".join(parts), True
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(parts), False
