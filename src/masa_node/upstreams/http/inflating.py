"""Unpacks answers that came compressed although `identity` was asked for. Pure; bounded in size and in ratio.

The bytes decide, not the label alone: proxies leave `Content-Encoding: gzip` on what they have unpacked themselves.
"""

import zlib

from masa_node.chat.errors import BrokenAnswer, EncodedAnswer, NotAnAnswer
from masa_node.chat.request import Headers

SLICE_BYTES = 64 * 1024  # given out at once, in less than a millisecond
# Of one answer, unpacked. Whole answers are bounded below that; a stream of this size lasts for days.
MAX_INFLATED_BYTES = 256 * 1024 * 1024
# Streams and lists of models shrink to a tenth or a twentieth; gzip's best is a thousandth, which only bombs reach.
MAX_RATIO = 200
RATIO_COUNTS_FROM_BYTES = 1024 * 1024

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_ZLIB_METHOD, _ZLIB_CHECK = 8, 31  # RFC 1950, 2.2
# How JSON, NDJSON and SSE begin, as far as nothing compressed does.
_TEXT = (b"{", b"[", b"\xef\xbb\xbf", b"data:", b"event:")


def codings_in(headers: Headers) -> list[str]:
    """The codings that the Content-Encoding headers among these name, in lower case, without `identity`."""
    values = [value for name, value in headers if name == "content-encoding"]
    named = (part.strip().lower() for value in values for part in value.split(","))
    return [coding for coding in named if coding not in ("", "identity")]


def inflater_for(codings: list[str], begin: bytes) -> "Inflater | None":
    """What unpacks a body that begins like this (two bytes or more, if it has them); None if it is not packed.

    Raises `EncodedAnswer` for a coding that is not known here.
    """
    if begin.startswith(GZIP_MAGIC) and codings in ([], ["gzip"], ["x-gzip"]):
        return Inflater(_GZIP_BITS)
    if not codings or not begin or begin.startswith(_TEXT) or codings in (["gzip"], ["x-gzip"]):
        return None
    if codings == ["deflate"]:  # zlib's format by the standard, bare by the habit of some
        is_zlib = begin[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(begin[:2], "big") % _ZLIB_CHECK == 0
        return Inflater(_ZLIB_BITS if is_zlib else _RAW_BITS)
    raise EncodedAnswer(
        f"its body is compressed (Content-Encoding: {', '.join(codings)[:100]}) although it was asked not to. "
        "gzip and deflate can be read here; have the server, or the proxy before it, send those or none."
    )


class Inflater:
    """`feed` what has come, `take` until b"", and again; `finish` when no more comes."""

    __slots__ = ("_bits", "_has_more", "_input", "_is_between", "_is_over", "_taken_bytes", "_unzip", "given_bytes")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._unzip = zlib.decompressobj(bits)
        self._input = b""
        self._has_more = False  # may there be more without another byte of input?
        self._is_between = False  # has a member ended, and no other begun?
        self._is_over = False
        self._taken_bytes = 0  # of what came
        self.given_bytes = 0

    def feed(self, data: bytes) -> None:
        """More of the body. What comes after its end is dropped."""
        if not self._is_over:
            self._input += data

    def take(self) -> bytes:
        """The next bytes, at most SLICE_BYTES; b"" when there are none yet. Raises `BrokenAnswer`, `NotAnAnswer`."""
        while (self._input or self._has_more) and self._is_inside():
            before = len(self._input)
            try:
                out = self._unzip.decompress(self._input, SLICE_BYTES)
            except zlib.error as exc:
                raise BrokenAnswer(f"its compressed body is damaged ({exc}).") from exc
            self._input = self._unzip.unconsumed_tail
            self._has_more = len(out) == SLICE_BYTES
            if self._unzip.eof:
                self._input, self._has_more, self._is_between = self._unzip.unused_data, False, True
            self._count(before - len(self._input), len(out))
            if out:
                return out
        return b""

    def finish(self) -> None:
        """The body has ended. Raises `BrokenAnswer` if it was cut."""
        if not (self._is_over or self._is_between) and self._taken_bytes:
            raise BrokenAnswer("its compressed body ended too soon, so the answer was cut.")

    def _is_inside(self) -> bool:
        """Can more be unpacked? A gzip body may be several in a row (RFC 1952, 2.2); what else follows is padding."""
        if self._is_between:
            if self._bits == _GZIP_BITS and self._input == GZIP_MAGIC[:1]:
                return False
            self._is_between = False
            self._is_over = self._bits != _GZIP_BITS or not self._input.startswith(GZIP_MAGIC)
            self._unzip = zlib.decompressobj(self._bits)
        return not self._is_over

    def _count(self, taken_bytes: int, given_bytes: int) -> None:
        self._taken_bytes += taken_bytes
        self.given_bytes += given_bytes
        is_bomb = self.given_bytes > RATIO_COUNTS_FROM_BYTES and self.given_bytes > MAX_RATIO * self._taken_bytes
        if is_bomb or self.given_bytes > MAX_INFLATED_BYTES:
            raise NotAnAnswer(
                f"its compressed body swells from {self._taken_bytes} to more than {self.given_bytes} bytes; "
                "that is no answer of an LLM."
            )
