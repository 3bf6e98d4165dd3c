"""Reads what `peek` does out of a body without its long middle, ten megabytes in a millisecond or three. Pure.

Fields that decide are changed the same way, and the middle is copied once.

Whatever may be a field that decides, however its name is written, is searched for in all of the body by a library that
compares 64 bytes at once where the processor has AVX-512, else 32. Most of what is found is seen to be none by what
stands around it. Of the rest the two that are farthest apart have nothing that decides between them, and `peek` reads
the body without that. Why it reads the same, if the body is one JSON value:

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
from masa_node.dialects.fields import is_json

_MOST_LEFT_BYTES = LARGE_BYTES  # which `peek` reads in one go
WINDOW_BYTES = 64 * 1024  # what is searched four times stays in the processor's cache
MOST_COST = 5_000  # of finding something: a third of a microsecond;
BYTES_A_COST = 64  # and less in a body that is read in one go, which is quicker then
_COST_BYTES = 100  # that are looked at beside it
_LOOK_BACK_BYTES = (256, 8 * 1024)  # the properties of a tool fit
_NEEDLE_BYTES = 16  # at most
_LONGEST_VALUE_BYTES = 4096  # the longest name of a model, each of its characters written as two escapes
_SPACE = b" \t\r\n"
_MOST_SPACE = 64

_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,64}+\{")
_END = re.compile(rb"\}[ \t\r\n]{0,64}+\Z")
_MAYBE_COLON = re.compile(rb"[ \t\r\n]{0,64}+[: \t\r\n]")  # there, or behind still more space
_VALUE = re.compile(rb'[ \t\r\n]*+:[ \t\r\n]*+(?:"(?:[^"\\]|\\.)*+"|[^"\[\]{}, \t\r\n]++)', re.DOTALL)

# How a body is searched: in lower case, with a colon for each space, and 4 for a digit that begins a letter's code.
_FOLDED = bytes(range(256)).lower().translate(bytes.maketrans(_SPACE + b"567", b"::::444"))
_MAYBE_ESCAPED = b"\\u004"
# And d for each other that ends the code of a letter of these names.
_ENDS_FOLDED = bytes.maketrans(b"123cef", b"dddddd")
_ESCAPED = (b"\\u0044", b"\\u004d")

# Without the first letter, which Go reads in `\N{LATIN SMALL LETTER LONG S}tream`, too.
_STREAM = b'tream":'  # with what follows: sentences end so, too
STREAM_OPTIONS = b"ream_o"  # one letter may stand for the first two; and `p`, if escaped, is not looked for
_LONGEST_BEGIN_BYTES = len(rb'"\u017ft')
_LONGEST_END_BYTES = len(STREAM_OPTIONS) + 6 * len("ptions") + 1
_MODEL = b'"model"'
_NAME = b'"name"'
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


def glance(body: bytes, endpoint: Endpoint, model_in_path: str | None = None) -> Peeked | None:
    """What `peek` would read; None where it is too small for this, or only a look at each part can tell."""
    names = (_MODEL, _STREAM, _NAME) if endpoint in WITH_NAME else (_MODEL, _STREAM)
    ends = _ends_of(body, names) if endpoint is not Endpoint.OLLAMA_SHOW else None
    try:
        return peek(ends.around(b""), endpoint, model_in_path) if ends is not None else None
    except CallerError:
        return None


def renamed(body: bytes, endpoint: Endpoint, asked: str, model: str) -> Steps[bytes]:
    """As `body_renamed`, for a body that `glance` has read."""
    names = (_MODEL, _NAME) if endpoint in WITH_NAME else (_MODEL,)
    return changed(body, names, lambda part: body_renamed(part, endpoint, asked, model))


def changed(body: bytes, names: Sequence[bytes], change: Callable[[bytes], Steps[bytes]]) -> Steps[bytes]:
    """What `change` makes of this body, where it changes only fields with these names, and what is behind the last."""
    ends = _ends_of(body, names)
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


def _ends_of(body: bytes, names: Sequence[bytes]) -> _Ends | None:
    """None: it is too small for this, or only a look at each part can tell whether the middle has these names."""
    search = fast_search() if len(body) > SMALL_BYTES else None
    root = _ROOT.match(body)
    last = _END.search(body, max(len(body) - _MOST_SPACE - 1, 0))
    if search is None or root is None or last is None:
        return None
    places = _Places(body, root.end() - 1).find(search, names)
    return _without_widest(body, root.end(), places, last.start()) if places is not None else None


class _Places:
    """Where there may be fields at the top of this body, whose first brace is at `root`."""

    def __init__(self, body: bytes, root: int) -> None:
        self._body = body
        self._root = root
        self._cost = 0
        self._most_cost = MOST_COST if len(body) > LARGE_BYTES else len(body) // BYTES_A_COST

    def find(self, search: _Search, names: Sequence[bytes]) -> list[Place] | None:
        """Those with these names, in order. None: there is too much to look at, or a letter is escaped."""
        uncopied = memoryview(self._body)
        places: list[Place] = []
        for begin in range(0, len(self._body), WINDOW_BYTES):
            window = search.translate(uncopied[begin : begin + WINDOW_BYTES + _NEEDLE_BYTES], _FOLDED)
            if search.find(window, _MAYBE_ESCAPED) >= 0:
                ends = search.translate(window, _ENDS_FOLDED)
                if any(search.find(ends, escaped) >= 0 for escaped in _ESCAPED):
                    return None
            for name in names:
                at = search.find(window, name)
                while 0 <= at < WINDOW_BYTES:
                    self._cost += 1
                    if self._cost > self._most_cost:
                        return None
                    place = self._place(name, begin + at)
                    if place is not None:
                        places.append(place)
                    at = search.find(window, name, at + 1)
        return sorted(places)

    def _place(self, name: bytes, at: int) -> Place | None:
        """That of the name that was found there, if it may be one of a field at the top."""
        is_begun = name.startswith(b'"')
        begin = at if is_begun else self._body.rfind(b'"', max(at - _LONGEST_BEGIN_BYTES, 0), at)
        end = self._body.find(b'"', at + 1, at + _LONGEST_END_BYTES) + 1
        if begin <= self._root or not end or _MAYBE_COLON.match(self._body, end) is None:
            return None
        start = max(begin - _MOST_SPACE, 0)
        before = self._body[start:begin].rstrip(_SPACE)
        if before.endswith(b"{"):
            is_at_top = start + len(before) - 1 == self._root
        else:
            is_at_top = not before or (before.endswith(b",") and not self._is_further_in(begin))
        return (begin, end) if is_at_top else None

    def _is_further_in(self, at: int) -> bool:
        """Is a bracket beside the root open there, which is outside of texts? False if none is seen shortly before."""
        for size in _LOOK_BACK_BYTES:
            self._cost += size // _COST_BYTES
            window = self._body[max(at - size, self._root + 1) : at]
            # Its end tells what is text, so an escape that was cut does no harm.
            window = window.replace(rb"\\", b"").replace(rb"\"", b"")
            brackets, _ = outside(window, is_text=window.count(b'"') % 2 == 1)
            level = 0
            for run in reversed(RUN.findall(brackets)):
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
