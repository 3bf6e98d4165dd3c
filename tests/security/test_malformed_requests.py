"""What is not HTTP/1.1 to the letter gets a 400 in JSON and the end of the connection; nothing after it is read.

h11 CVE-2025-43859 and request smuggling: two parsers that disagree about where a request ends let one caller's bytes
become another's request. Each attack here is followed by such a request, which must never be answered.
"""

import pytest

from tests.api.raw_http import CHUNKED, LAST_CHUNK, LOCALHOST, chat, get, head, line_to, post, post_chunked
from tests.api.serving import ServingNode

SMUGGLED = get(b"/healthz")
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
BODY = chat()


def sized(length: bytes) -> bytes:
    return head(b"POST", b"/v1/chat/completions", b"Content-Length: " + length + b"\r\n") + b"hello"


def coded(coding: bytes) -> bytes:
    return post_chunked(LAST_CHUNK, b"Transfer-Encoding: " + coding + b"\r\n")


def field(line: bytes) -> bytes:
    return get(b"/healthz", line + b"\r\n")


TWO_LENGTHS = {
    "length and chunks": post_chunked(LAST_CHUNK, CHUNKED + b"Content-Length: 5\r\n"),
    "chunks and length": post_chunked(LAST_CHUNK, b"Content-Length: 5\r\n" + CHUNKED),
    "two equal lengths": post(BODY, b"Content-Length: %d\r\n" % len(BODY)),
    "two lengths": post(BODY, b"Content-Length: 1\r\n"),
    "a list of lengths": sized(b"5, 5"),
    "a length in a trailer": post_chunked(b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "chunks twice": post_chunked(LAST_CHUNK, CHUNKED + CHUNKED),
}
LENGTHS = {
    "plus": sized(b"+5"),
    "minus": sized(b"-5"),
    "hexadecimal": sized(b"0x5"),
    "nothing": sized(b""),
    "space within": sized(b"5 5"),
    "underscore": sized(b"1_0"),
    "not ASCII": sized(b"\xd9\xa5"),
    "over 64 bits": sized(b"99999999999999999999999"),
}
CODINGS = {
    "unknown": coded(b"xchunked"),
    "identity": coded(b"identity"),
    "gzip before chunks": coded(b"gzip, chunked"),
    "gzip in a line of its own": post_chunked(LAST_CHUNK, b"Transfer-Encoding: gzip\r\n" + CHUNKED),
    "identity in a line of its own": post_chunked(LAST_CHUNK, b"Transfer-Encoding: identity\r\n" + CHUNKED),
    "chunks not last": coded(b"chunked, identity"),
    "chunks in chunks": coded(b"chunked, chunked"),
    "quoted": coded(b'"chunked"'),
    "vertical tab": coded(b"\x0bchunked"),
    "folded": post_chunked(LAST_CHUNK, b"Transfer-Encoding:\r\n chunked\r\n"),
    "space before the colon": post_chunked(LAST_CHUNK, b"Transfer-Encoding : chunked\r\n"),
    "in HTTP/1.0": head(b"POST", b"/v1/chat/completions", CHUNKED, version=b"HTTP/1.0") + LAST_CHUNK,
}
CHUNKS = {
    "0x": post_chunked(b"0x2\r\n{}\r\n" + LAST_CHUNK),
    "plus": post_chunked(b"+2\r\n{}\r\n" + LAST_CHUNK),
    "minus": post_chunked(b"-2\r\n{}\r\n" + LAST_CHUNK),
    "space before": post_chunked(b" 2\r\n{}\r\n" + LAST_CHUNK),
    "space after": post_chunked(b"2 \r\n{}\r\n" + LAST_CHUNK),
    "nothing": post_chunked(b"\r\n{}\r\n" + LAST_CHUNK),
    "over 64 bits": post_chunked(b"10000000000000002\r\n{}\r\n" + LAST_CHUNK),
    "bare LF": post_chunked(b"2\n{}\n0\n\n"),
    "bare LF after the data": post_chunked(b"2\r\n{}\n" + LAST_CHUNK),
    "nothing after the data": post_chunked(b"2\r\n{}" + LAST_CHUNK),
    "data longer than its size": post_chunked(b"2\r\n{}}\r\n" + LAST_CHUNK),
    "bare LF in an extension": post_chunked(b"2;a\n{}\r\n" + LAST_CHUNK),
    "bare CR in an extension": post_chunked(b"2;a\rb\r\n{}\r\n" + LAST_CHUNK),
    "CRLF in a quoted extension": post_chunked(b'2;a="b\r\n"\r\n{}\r\n' + LAST_CHUNK),
    "a bad trailer": post_chunked(b"2\r\n{}\r\n0\r\nX T: y\r\n\r\n"),
}
LINES = {
    "bare LF": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "bare LF once": b"GET /healthz HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "bare LF at the end": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\n",
    "bare CR": field(b"X-A: b\rc"),
    "bare CR in the request line": b"GET /healthz HTTP/1.1\rHost: localhost\r\n\r\n",
    "folded": field(b"X-A: b\r\n c"),
    "folded with a tab": field(b"X-A: b\r\n\tc"),
    "folded at once": b"GET /healthz HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n",
    "NUL in a value": field(b"X-A: b\x00c"),
    "NUL in a name": field(b"X\x00A: b"),
    "control character": field(b"X-A: b\x01c"),
    "space in a name": field(b"X A: b"),
    "space before the colon": field(b"X-A : b"),
    "no name": field(b": b"),
    "no colon": field(b"X-A"),
    "name not ASCII": field("X-é: b".encode()),
}
FIRST_LINES = {
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/0.9, said": head(version=b"HTTP/0.9"),
    "HTTP/1.2": head(version=b"HTTP/1.2"),
    "HTTP/2.0": head(version=b"HTTP/2.0"),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/11": head(version=b"HTTP/11"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 64,
    "SOCKS": b"\x05\x01\x00",
    "lower case method": head(b"get"),
    "no such method": head(b"BREW"),
    "CONNECT": head(b"CONNECT", b"localhost:80"),
    "CONNECT to a path": head(b"CONNECT", b"/healthz"),
    "no target": b"GET  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no slash": head(target=b"healthz"),
    "backslash": head(target=b"\\healthz"),
    "asterisk": head(target=b"*"),
    "fragment": head(target=b"/healthz#x"),
    "NUL": head(target=b"/\x00"),
    "tab": head(target=b"/health\tz"),
    "not ASCII": head(target="/é".encode()),
    "URL of another host": head(target=b"http://evil.example/healthz"),
    "URL with a user": head(target=b"http://localhost@evil.example/healthz"),
    "URL with another port": head(target=b"http://localhost:1/healthz"),
    "URL of another scheme": head(target=b"ftp://localhost/healthz"),
    "URL without Host": head(target=b"http://localhost/healthz", host=b""),
    "URL with two Hosts": head(target=b"http://localhost/healthz", host=LOCALHOST + b"Host: evil.example\r\n"),
}


def cases(**groups: dict[str, bytes]) -> list[object]:
    return [pytest.param(raw, id=f"{group}-{name}") for group, named in groups.items() for name, raw in named.items()]


ATTACKS = cases(
    two_lengths=TWO_LENGTHS, length=LENGTHS, coding=CODINGS, chunk=CHUNKS, line=LINES, first_line=FIRST_LINES
)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_it_gets_400_and_nothing_after_it_is_answered(node: ServingNode, attack: bytes) -> None:
    async with line_to(node.port) as line:
        reply = await line.ask(attack + SMUGGLED + SMUGGLED)
        assert (reply.status, reply.error_code) == (400, "bad_request")
        assert reply.header("content-type") == "application/json"
        assert reply.header("connection") == "close"
        assert await line.is_closed()


@pytest.mark.parametrize("attack", ATTACKS)
async def test_it_gets_400_byte_by_byte_too(node: ServingNode, attack: bytes) -> None:
    async with line_to(node.port) as line:
        await line.send(*(attack[at : at + 1] for at in range(len(attack))), SMUGGLED)
        assert (await line.reply()).status == 400
        assert await line.is_closed()


async def test_a_valid_request_before_it_is_answered(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        assert (await line.ask(get(b"/healthz"))).status == 200
        assert (await line.ask(FIRST_LINES["no slash"])).status == 400
        assert await line.is_closed()


async def test_garbage_behind_a_request_puts_no_400_into_its_stream(small: ServingNode) -> None:
    """Those bytes would be taken for the LLM's."""
    async with line_to(small.port) as line:
        await line.send(post(chat(stream=True)))
        begun = await line.reader.readuntil(b"data: {")
        await line.send(b"\x00garbage")
        answered = begun + await line.reader.read()
        assert answered.count(b"HTTP/1.1 ") == 1
        assert not answered.endswith(LAST_CHUNK)


async def test_garbage_behind_two_requests_puts_no_400_into_the_first_stream(small: ServingNode) -> None:
    async with line_to(small.port) as line:
        await line.send(post(chat(stream=True)))
        begun = await line.reader.readuntil(b"data: {")
        await line.send(get(b"/healthz") + b"\x00garbage")
        answered = begun + await line.reader.read()
        assert answered.count(b"HTTP/1.1 ") == 1
        assert not answered.endswith(LAST_CHUNK)


async def test_a_client_that_still_sends_gets_to_read_the_400(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        await line.send(FIRST_LINES["no slash"], *[b"x" * 65536] * 64)
        assert (await line.reply()).status == 400
        assert await line.is_closed()
