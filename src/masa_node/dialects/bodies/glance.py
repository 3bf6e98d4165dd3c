"""Reads what `peek` does out of a body without its long middle, ten megabytes in a millisecond or three. Pure.

Fields that decide are changed the same way, and the middle is copied once.

Whatever may be a field that decides, however its name is written, is found by the quote behind its name. Where quotes
are rare, as in long texts and pictures, it goes from one to the next, as fast as memory is read. Elsewhere a library
that compares 64 bytes at once (32 without AVX-512) finds those behind a last letter that fits. Most of what is found is
seen to be none by what stands around it. Of the rest the two that are farthest apart have nothing that decides between
them, and `peek` reads the body without that. Why it reads the same, if the body is one JSON value:

- A quote inside of a text has a backslash before it. So `"model"` without one is a whole text, and from there JSON can
  be read backwards, too. It is a name if a colon follows, and a brace or a comma is before.
- Behind a brace it is at the top if that is the body's first. Behind another one, or any bracket that is still open
  there, it is further in.
- If what is left is an object, too, then the body is as deep before what was left out as behind it.

If it is none, LLM servers refuse it. But some read the value with which it begins and ignore what follows: they could
find no model, and choose one. So this is for callers that are allowed every model. Others have each part looked at.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, Protocol, cast

from masa_node.chat.errors import CallerError
from masa_node.chat.request import Endpoint
from masa_node.dialects.bodies.peek import SMALL_BYTES, WITH_NAME, Peeked, body_renamed, peek
from masa_node.dialects.condensing import LARGE_BYTES, RUN, Steps, outside
from masa_node.dialects.fields import TEXT, is_json, read

_MOST_LEFT_BYTES = LARGE_BYTES  # which `peek` reads in one go
WINDOW_BYTES = 256 * 1024  # what is searched twice stays in the processor's cache
HOP_BYTES = 512  # to go to the next quote takes as long as to look at so many bytes in a window
_FREE_HOPS = 8  # before it is seen that quotes are dense, unless they were before
MOST_COST = 5_000  # of finding something: a third of a microsecond;
BYTES_A_COST = 64  # and less in a body that is read in one go, which is quicker then
_COST_BYTES = 100  # that are looked at beside it
_RUNS_A_COST = 4  # of brackets there
_COST_TO_READ = 10  # a name with escapes: halves of emojis in it have to be mended
_LOOK_BACK_BYTES = (256, 8 * 1024)  # the properties of a tool fit
_LONGEST_VALUE_BYTES = 4096  # the longest name of a model, each of its characters written as two escapes
_SPACE = b" \t\r\n"
_MOST_SPACE = 64

_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,64}+\{")
_END = re.compile(rb"\}[ \t\r\n]{0,64}+\Z")
_MAYBE_COLON = re.compile(rb"[ \t\r\n]{0,64}+[: \t\r\n]")  # there, or behind still more space
_VALUE = re.compile(rb'[ \t\r\n]*+:[ \t\r\n]*+(?:"(?:[^"\\]|\\.)*+"|[^"\[\]{}, \t\r\n]++)', re.DOTALL)

_BEHIND = _SPACE + b":"
_FOUND = b'\1\0":'  # in a window that `_Sought.table` has translated
_LONGEST_NAME_BYTES = len(rb"\u006d") * len("stream_options") + len('""')
_MIDDLE = b'"\x7f":0'  # a field that stands for it

Place = tuple[int, int]  # where a name begins and ends, quotes included


class _Search(Protocol):
    """What is used of StringZilla."""

    __capabilities__: Sequence[str]  # "serial", and the kinds of vector instructions that it uses here

    def find(self, text: bytes, sought: bytes, start: int = 0) -> int:
        """As `bytes.find`."""
        ...

    def translate(self, text: bytes | memoryview, table: bytes) -> bytes:
        """As `bytes.translate`."""
        ...


@cache
def fast_search() -> _Search | None:
    """None where it has no vector instructions, or is not there."""
    try:
        import stringzilla  # type: ignore[import-not-found]  # noqa: PLC0415 - seldom needed, and a megabyte

        library = cast("_Search", stringzilla)
        return library if len(library.__capabilities__) > 1 else None
    except Exception:  # noqa: BLE001 - one that is broken, in whatever way, is as good as none
        return None


def find_fast(text: bytes, sought: bytes, start: int = 0) -> int:
    """As `bytes.find`, and 20 times as fast where there is the library."""
    search = fast_search()
    return text.find(sought, start) if search is None else search.find(text, sought, start)


class _Sought(NamedTuple):
    """Names, and how their last two letters may be written: as they are, or as the last digits of an escape."""

    names: frozenset[bytes]
    before: bytes
    last: bytes
    table: bytes  # that makes `_FOUND` of the last two, a quote, and a colon or a space


def _sought(names: tuple[bytes, ...], before: bytes, last: bytes) -> _Sought:
    found = b"\1" * len(before) + bytes(len(last)) + b":" * len(_SPACE)
    return _Sought(frozenset(names), before, last, bytes.maketrans(before + last + _SPACE, found))


_MODEL = _sought((b"model", b"stream"), b"eEaA5146", b"lLcCmMdD")
_NAME = _sought((b"name",), b"mMdD46", b"eE5")
# Go reads `\N{LATIN SMALL LETTER LONG S}` for an s, too.
STREAM_OPTIONS = _sought((b"stream_options",), b"nNeE57\xc5", b"sS3fF\xbf")


def glance(body: bytes, endpoint: Endpoint, model_in_path: str | None = None) -> Peeked | None:
    """What `peek` would read; None where it is too small for this, or only a look at each part can tell."""
    ends = _ends_of(body, _deciding(endpoint)) if endpoint is not Endpoint.OLLAMA_SHOW else None
    try:
        return peek(ends.around(b""), endpoint, model_in_path) if ends is not None else None
    except CallerError:
        return None


def renamed(body: bytes, endpoint: Endpoint, asked: str, model: str) -> Steps[bytes]:
    """As `body_renamed`, for a body that `glance` has read."""
    return changed(body, _deciding(endpoint), lambda part: body_renamed(part, endpoint, asked, model))


def _deciding(endpoint: Endpoint) -> tuple[_Sought, ...]:
    return (_MODEL, _NAME) if endpoint in WITH_NAME else (_MODEL,)


def changed(body: bytes, sought: tuple[_Sought, ...], change: Callable[[bytes], Steps[bytes]]) -> Steps[bytes]:
    """What `change` makes of this body, where it changes only fields that are sought, and what is behind the last."""
    ends = _ends_of(body, sought)
    text = ends.around(_MIDDLE) if ends is not None else b""
    if ends is None or text.count(_MIDDLE) != 1 or not is_json(text):
        return (yield from change(body))
    made = yield from change(text)
    if made == text:
        return body
    begin, _, end = made.partition(ends.before + _MIDDLE + ends.behind)
    return b"".join((begin, memoryview(body)[len(ends.begin) : len(body) - len(ends.end)], end))


class _Ends(NamedTuple):
    """What is left of a body without its middle; and a comma before and behind that, where it has one there."""

    begin: bytes
    before: bytes
    behind: bytes
    end: bytes

    def around(self, middle: bytes) -> bytes:
        if not middle:
            return self.begin + (self.before and self.behind) + self.end
        return b"".join((self.begin, self.before, middle, self.behind, self.end))


def _ends_of(body: bytes, sought: tuple[_Sought, ...]) -> _Ends | None:
    """None: it is too small for this, or only a look at each part can tell whether the middle has these names."""
    root = _ROOT.match(body) if len(body) > SMALL_BYTES else None
    last = _END.search(body, max(len(body) - _MOST_SPACE - 1, 0))
    if root is None or last is None:
        return None
    places = _Places(body, root.end() - 1, sought).find()
    return _without_widest(body, root.end(), places, last.start()) if places is not None else None


class _Places:
    """Where there may be fields with these names at the top of this body, whose first brace is at `root`."""

    def __init__(self, body: bytes, root: int, sought: tuple[_Sought, ...]) -> None:
        self._body = body
        self._root = root
        self._sought = sought
        self._names = frozenset(name for one in sought for name in one.names)
        self._before = b"".join(one.before for one in sought)
        self._last = b"".join(one.last for one in sought)
        self._places: list[Place] = []
        self._cost = 0
        self._most_cost = MOST_COST if len(body) > LARGE_BYTES else len(body) // BYTES_A_COST

    def find(self) -> list[Place] | None:
        """They, in order. None: there is too much to look at, or no library for where quotes are dense."""
        free_hops = _FREE_HOPS
        for begin in range(0, len(self._body), WINDOW_BYTES):
            stop = begin + WINDOW_BYTES
            at = self._after_hops(begin, stop, free_hops)
            free_hops = _FREE_HOPS if at >= stop else 0
            if not free_hops and not self._has_searched(at, stop):
                return None
            if self._cost > self._most_cost:
                return None
        return sorted(self._places)

    def _after_hops(self, begin: int, stop: int, free_hops: int) -> int:
        """How far it came from quote to quote, while they are rare. One is never the first byte, nor the last."""
        body, before, last, at, hops = self._body, self._before, self._last, begin, -free_hops
        while at - begin >= hops * HOP_BYTES:
            at = body.find(b'"', at, stop) + 1
            if not at:
                return stop
            if body[at] in _BEHIND and body[at - 2] in last and body[at - 3] in before:
                self._see(at)
                if self._cost > self._most_cost:
                    return stop
            hops += 1
        return at

    def _has_searched(self, begin: int, stop: int) -> bool:
        """All from here to there; False: not all of it."""
        search = fast_search()
        if search is None:
            return False
        uncopied = memoryview(self._body)[begin - 2 : stop + 1]
        for sought in self._sought:
            window = search.translate(uncopied, sought.table)
            at = search.find(window, _FOUND)
            while at >= 0 and self._cost <= self._most_cost:
                self._see(begin + at + 1)
                at = search.find(window, _FOUND, at + 1)
        return True

    def _see(self, end: int) -> None:
        """Keep the place of the name that ends there, if it may be one of a field at the top."""
        self._cost += 1
        begin = self._body.rfind(b'"', max(end - _LONGEST_NAME_BYTES, self._root), end - 1)
        if begin > self._root and self._may_be_sought(begin, end) and self._may_be_at_top(begin):
            self._places.append((begin, end))

    def _may_be_sought(self, begin: int, end: int) -> bool:
        name = self._body[begin + 1 : end - 1].lower()
        if name not in self._names:
            if name.isascii() and b"\\" not in name:
                return False
            self._cost += _COST_TO_READ
            text = read(self._body[begin:end], TEXT)  # what cannot be read as one may be any
            if text is not None and text.casefold().encode("utf-8", "replace") not in self._names:
                return False
        return _MAYBE_COLON.match(self._body, end) is not None

    def _may_be_at_top(self, begin: int) -> bool:
        start = max(begin - _MOST_SPACE, 0)
        before = self._body[start:begin].rstrip(_SPACE)
        if before.endswith(b"{"):
            return start + len(before) - 1 == self._root
        return not before or (before.endswith(b",") and not self._is_further_in(begin))

    def _is_further_in(self, at: int) -> bool:
        """Is a bracket beside the root open there, which is outside of texts? False if none is seen shortly before."""
        for size in _LOOK_BACK_BYTES:
            self._cost += size // _COST_BYTES
            window = self._body[max(at - size, self._root + 1) : at]
            # Its end tells what is text, so an escape that was cut does no harm.
            window = window.replace(rb"\\", b"").replace(rb"\"", b"")
            brackets, _ = outside(window, is_text=window.count(b'"') % 2 == 1)
            level, runs = 0, RUN.findall(brackets.replace(b"[]", b""))
            self._cost += len(runs) // _RUNS_A_COST
            for run in reversed(runs):
                level += len(run) if run.startswith(b"[") else -len(run)
                if level > 0:
                    return True
        return False


def _without_widest(body: bytes, begin: int, places: list[Place], last: int) -> _Ends | None:
    """The body without what lies between the two places that are farthest apart; None if it is still large."""
    edges = [(begin, begin), *places, (last, last)]
    widest = max(range(len(places) + 1), key=lambda number: edges[number + 1][0] - edges[number][1])
    left_of, right_of = edges[widest][1], edges[widest + 1][0]
    if left_of + len(body) - right_of > _MOST_LEFT_BYTES:
        return None
    if widest > 0:
        value = _VALUE.match(body, left_of, left_of + _LONGEST_VALUE_BYTES)
        if value is None:
            return None
        left_of = value.end()
    before, behind = b"," if widest > 0 else b"", b"," if widest < len(places) else b""
    return _Ends(body[:left_of], before, behind, body[right_of:])
