"""Large JSON in steps: as a small text of the same shape, part by part, or weighed. Nobody's megabytes hold the event
loop.
"""

import re
from codecs import utf_8_decode
from collections.abc import Generator
from typing import TypeVar

# ---- condensing ----

# msgspec reads a megabyte in 1 to 10 ms, whatever stands in it, and cannot stop in between. What is larger than
# LARGE_BYTES is first condensed: objects and lists below a depth are left empty, long texts and runs of numbers are
# cut. What readers look for (names, flags, reasons, usage, words of an error) stays. Only what is left is validated.

T = TypeVar("T")
Steps = Generator[None, None, T]

LARGE_BYTES = 104 * 1024  # of nothing but tiny parts: 10 ms in one go at worst, since several readers look at them
STEP_BYTES = 32 * 1024  # about 2 ms in the worst case
MAX_PARTS = 50_000  # texts, objects and lists that stay; the longest seen (2048 embeddings) has 20 000
ANSWER_DEPTH = 4  # `result.choices[].finish_reason` is the deepest that is looked for
REQUEST_DEPTH = 1
_PART_COSTS_BYTES = 1024  # to find and to keep a part, or the end of a list, takes as long as to look at so many
_MAX_TEXT_BYTES = 1024
_MAX_RUN_BYTES = 256
_MANY_PARTS = 1_000  # beyond them each is cut to _FEW_BYTES
_FEW_BYTES = 40  # a name that decides fits, each of its letters written as an escape
# Ends a text that was cut. No name of a model may hold it: else one would be taken for another that it begins with.
_CUT = "\N{ZERO WIDTH SPACE}".encode()
_FEW_BYTES_OF_RUN = 16  # a colon, a time or a count of tokens, and a comma
_QUOTE = 34
_BACKSLASH = 92
HOPS = 32
HOP_BYTES = 400  # to go to the next sign takes as long as to look at so many bytes in a window
_HOPS_TO_COUNT = 7  # backslashes takes as long as so many more
_HOPS_ARE_FASTER = 4  # than windows, at least
_FIND_STEPS = 32  # STEP_BYTES in which one quote is looked for: a megabyte takes a tenth of a millisecond
_SPACES = b" \t\r\n"
_SHORT_RUN_BYTES = 64
FIRST_WINDOW_BYTES = 256

_STRUCTURE = re.compile(rb'["\[\]{}]')
_OUTSIDE = re.compile(rb'[\\"\[\]{}]')
_TEXT = re.compile(rb'(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*+', re.DOTALL)
RUN = re.compile(rb"\[+|\]+")
_PAIR_ROUNDS = 4  # what is nested deeper has longer runs of one bracket
_NO_SIGNS = bytes(set(range(256)) - set(b'"[]{}'))
_EMPTY = {b"[": b"[]", b"{": b"{}"}
_STEP_OF = [1 if byte in b"[{" else -1 for byte in range(256)]


def condensed(data: bytes, depth: int) -> Steps[bytes | None]:
    """The small text; None if it would not be small. Each step looks at about STEP_BYTES, or makes some parts."""
    out: list[bytes] = []
    joined: list[bytes] = []  # what was in it before: to join and to free all at once takes 10 ms
    at = level = yielded_at = before = 0
    while before + len(out) < 2 * MAX_PARTS:
        looked_at = at + _PART_COSTS_BYTES * (before + len(out))
        if looked_at >= yielded_at + STEP_BYTES:
            yielded_at = looked_at
            yield
        if len(out) > _MANY_PARTS:
            before += len(out)
            joined.append(b"".join(out))
            out.clear()
        found = _STRUCTURE.search(data, at, at + STEP_BYTES)
        end = found.start() if found is not None else (yield from next_of(_STRUCTURE, data, at))
        is_many = before > 0
        out.append(_short_run(data, at, end, _FEW_BYTES_OF_RUN if is_many else _MAX_RUN_BYTES))
        if end == len(data):
            return b"".join([*joined, *out])
        sign = data[end : end + 1]
        if sign == b'"':
            at = yield from end_of_text(data, end)
            out.append(_short_text(data, end, at, _FEW_BYTES if is_many else _MAX_TEXT_BYTES))
        elif sign in _EMPTY and level == depth:
            at = yield from end_of_container(data, end)
            out.append(_EMPTY[sign] if at <= len(data) else sign)
        else:
            level += _STEP_OF[data[end]]
            at = end + 1
            out.append(sign)
    return None


def at_once(steps: Steps[T]) -> T:
    """All steps, one after the other."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result


def next_of(signs: re.Pattern[bytes], data: bytes, at: int) -> Steps[int]:
    """Where the next one of these signs is; the end of the data if there is none."""
    while at < len(data):
        found = signs.search(data, at, at + STEP_BYTES)
        if found is not None:
            return found.start()
        at += STEP_BYTES
        yield
    return len(data)


def _short_run(data: bytes, start: int, end: int, most_bytes: int) -> bytes:
    """Signs, numbers and spaces between two texts: of many, one number stands for all."""
    if end - start <= most_bytes:
        return data[start:end]
    run = data[start:end].strip(_SPACES)
    if len(run) <= most_bytes:
        return run or b" "
    first = run[:1] if run.startswith((b":", b",")) else b""
    return first + b"0" + (b"," if run.endswith(b",") else b"")


def _short_text(data: bytes, start: int, end: int, most_bytes: int) -> bytes:
    if end - start <= most_bytes:
        return data[start:end]
    match = _TEXT.match(data, start + 1, start + most_bytes - len(_CUT))
    text = data[start + 1 : match.end()] if match is not None else b""
    return b'"' + text.decode("utf-8", "ignore").encode() + (_CUT + b'"' if end <= len(data) else b"")


def end_of_text(data: bytes, start: int) -> Steps[int]:
    """Behind the closing quote; beyond the data if there is none."""
    at = free = start + 1  # no backslash before `free` counts for a quote behind it
    while at < len(data):
        begun, hops = at, HOPS
        while hops > 0:  # from quote to quote, which is as fast as the memory while few of them are escaped
            stop = at + _FIND_STEPS * STEP_BYTES
            end = data.find(b'"', at, stop)
            if end < 0:
                at = stop
                break
            is_escaped = end > free and data[end - 1] == _BACKSLASH
            hops -= 1
            if is_escaped and end - 1 > free and data[end - 2] == _BACKSLASH:  # one alone is the usual escape of it
                is_escaped = yield from _is_escaped(data, free, end)
                hops -= _HOPS_TO_COUNT
            if not is_escaped:
                return end + 1
            at = free = end + 1
        if at - begun < HOPS * HOP_BYTES:
            window = _without_escapes(data, at, STEP_BYTES)
            end = window.find(b'"')
            if end >= 0:
                return at + end + 1
            at = free = at + len(window)
        yield
    return len(data) + 1


def _is_escaped(data: bytes, start: int, quote: int) -> Steps[bool]:
    """Is there an odd number of backslashes before this quote? None that counts is before `start`."""
    backslashes, size = 0, _SHORT_RUN_BYTES
    end = quote
    while end > start:
        run = data[max(end - size, start) : end]
        found = len(run) - len(run.rstrip(b"\\"))
        backslashes += found
        if found < len(run):
            break
        end -= size
        if size == STEP_BYTES:
            yield
        size = STEP_BYTES
    return backslashes % 2 == 1


def end_of_container(data: bytes, start: int) -> Steps[int]:
    """Behind the bracket that closes the one at `start`; beyond the data if there is none.

    Where texts are long it goes from sign to sign, otherwise a window at a time.
    """
    at, size, seen, depth, is_text, is_sparse = start, FIRST_WINDOW_BYTES, 0, 0, False, True
    while at < len(data):
        begun = at
        if is_sparse:
            if is_text:
                at = yield from end_of_text(data, at - 1)
                is_text = False
            hopped = at
            at, depth, signs = yield from _after_hops(data, at, depth)
            if depth <= 0:
                return at
            is_sparse = at - hopped >= signs * HOP_BYTES
            seen += (at - begun) // _HOPS_ARE_FASTER
        else:
            window = _without_escapes(data, at, size)
            brackets, quotes = outside(window, is_text=is_text)
            if brackets and depth - brackets.count(b"]") <= 0 and depth + _lowest(brackets) <= 0:
                if len(window) <= FIRST_WINDOW_BYTES:
                    return at + _closed_at(window, depth, is_text=is_text)
                size = max(len(window) // 4, FIRST_WINDOW_BYTES)
            else:
                depth += 2 * brackets.count(b"[") - len(brackets)
                is_text ^= bool(quotes & 1)
                at += len(window)
                is_sparse = size == STEP_BYTES and quotes * HOP_BYTES < STEP_BYTES
                size = min(4 * size, STEP_BYTES)
            seen += len(window)
        if seen >= STEP_BYTES:
            seen = 0
            yield
    return len(data) + 1


def _after_hops(data: bytes, at: int, depth: int) -> Steps[tuple[int, int, int]]:
    """Where it is after a few signs outside of texts, how deep (0: the container is closed there), and how many."""
    for number in range(HOPS):
        found = _OUTSIDE.search(data, at, at + FIRST_WINDOW_BYTES)
        if found is None:
            return at, depth, number + HOPS
        at = found.end()
        sign = data[at - 1]
        if sign == _QUOTE:
            end = data.find(b'"', at, at + STEP_BYTES)
            at = end + 1 if end >= 0 and data[end - 1] != _BACKSLASH else (yield from end_of_text(data, at - 1))
        elif sign == _BACKSLASH:  # which is no JSON here: as in a window
            at += data[at : at + 1] in (b"\\", b'"')
        else:
            depth += _STEP_OF[sign]
            if depth <= 0:
                break
    return at, depth, HOPS


def _closed_at(window: bytes, depth: int, *, is_text: bool) -> int:
    """Behind the bracket that brings the depth to 0."""
    for at, byte in enumerate(window):
        if byte == _QUOTE:
            is_text = not is_text
        elif not is_text and byte in b"[]{}":
            depth += _STEP_OF[byte]
            if depth <= 0:
                return at + 1
    return len(window)


def _without_escapes(data: bytes, at: int, size: int) -> bytes:
    """So many bytes from there, escaped quotes and backslashes made harmless; no escape is cut at the end."""
    window = data[at : at + size]
    if b"\\" not in window:
        return window
    window = window.replace(b"\\\\", b"xx").replace(b'\\"', b"xx")
    if not window.endswith(b"\\") or at + size >= len(data):
        return window
    return window[:-1] if len(window) > 1 else _without_escapes(data, at, 2)


def outside(window: bytes, *, is_text: bool) -> tuple[bytes, int]:
    """The brackets outside of texts, as if of one kind, most pairs left out; and how many quotes there are."""
    signs = window.translate(_ONE_KIND, _NO_SIGNS)
    brackets = b"".join(signs.replace(b'""', b"").split(b'"')[is_text::2])
    for _ in range(_PAIR_ROUNDS if len(brackets) > FIRST_WINDOW_BYTES else 0):
        brackets = brackets.replace(b"[]", b"")
    return brackets, signs.count(b'"')


_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def _lowest(brackets: bytes) -> int:
    """How far down they are at most behind a closing one."""
    level, lowest = 0, len(brackets)
    for run in RUN.findall(brackets):
        if run.startswith(b"["):
            level += len(run)
        else:
            level -= len(run)
            lowest = min(lowest, level)
    return lowest


# ---- splitting ----

# msgspec makes an object of each part, however many there are, in one go: of 16 MB it made a gigabyte. Here the first
# parts are cut out, and the rest is not looked at. Nothing is validated: the reader of a part does that.

_SIGN = re.compile(rb'[,"\[\]{}]')
_PARTS_PER_STEP = 1_000
_SIGN_COSTS_BYTES = 512  # to find one, and the end of what it opens, takes as long as to look at so many bytes


def parts_of(data: bytes, most: int) -> Steps[list[bytes] | None]:
    """The first parts of the list or object that these bytes are; of an object each is `"name": value`.

    None where the bytes are neither, or end before it does.
    """
    spans = yield from spans_of(data, most)
    if spans is None:
        return None
    parts: list[bytes] = []
    for begin, end in spans:
        parts.append(data[begin:end].strip())
        if not len(parts) % _PARTS_PER_STEP:
            yield
    return parts if parts != [b""] else []


def spans_of(data: bytes, most: int) -> Steps[list[tuple[int, int]] | None]:
    """Where these parts begin and end, with the spaces around them. What is empty has one part that is blank."""
    at = begin = len(data) - len(data.lstrip()) + 1
    if data[begin - 1 : begin] not in (b"[", b"{"):
        return None
    spans: list[tuple[int, int]] = []
    looked_at = yielded_at = 0
    while at < len(data):
        looked_at += _SIGN_COSTS_BYTES
        if at + looked_at >= yielded_at + STEP_BYTES:
            yielded_at = at + looked_at
            yield
        found = _SIGN.search(data, at, at + STEP_BYTES)
        at = found.end() if found is not None else at + STEP_BYTES
        sign = found[0] if found is not None else b""
        if sign == b'"':
            at = yield from end_of_text(data, at - 1)
        elif sign in (b"[", b"{"):
            at = yield from end_of_container(data, at - 1)
        elif sign:
            spans.append((begin, at - 1))
            if sign != b"," or len(spans) >= most:
                return spans
            begin = at
    return None


def fields_of(data: bytes, most: int) -> Steps[dict[bytes, bytes] | None]:
    """The first fields of the object that these bytes are; names as written between their quotes."""
    if not data.lstrip().startswith(b"{"):
        return None
    parts = yield from parts_of(data, most)
    fields: dict[bytes, bytes] = {}
    for part in parts or ():
        end = yield from end_of_text(part, 0)
        fields[part[1 : end - 1]] = part[end:].lstrip().removeprefix(b":").lstrip()
    return fields if parts is not None else None


# ---- weighing ----

# How long it takes to read all of a JSON text, or to write it again, in one go. No other thread runs meanwhile, and
# none can stop it: msgspec takes 6 ms for ten megabytes of plain text, and half a second for as many of empty lists.

_NS_OF = {b"{": 450, b"[": 150, b",": 30, b":": 40}  # measured; of reading and of writing the slower
_NS_A_TEXT = 50
_NS_A_BYTE = 0.8
_NS_A_FOREIGN_BYTE = 3.3  # in a window that is not all ASCII
_NS_A_BAD_BYTE = 40  # in one that is no UTF-8
_FOLLOWING, _MOST_FOLLOWING = frozenset(bytes([byte]) for byte in range(0x80, 0xC0)), 3  # bytes of one character
_NS_AN_ESCAPE = 30
_NS_HALF_A_PAIR = 300  # of an emoji in two escapes: where one lacks the other, all are looked at (`fields.mend`)


def weight_ms(data: bytes, most_ms: float) -> Steps[float]:
    """How long at least a reader of all of it takes on a usual machine; not looked at further beyond `most_ms`."""
    at, weight_ns, is_text = 0, 0.0, False
    while at < len(data) and weight_ns <= most_ms * 1e6:
        window = _without_escapes(data, at, STEP_BYTES)
        weight_ns += len(window) * _ns_a_byte(window)
        if b"\\" in data[at : at + len(window)]:
            weight_ns += _weight_of_escapes_ns(data[at : at + len(window)])
        parts = window.split(b'"')
        outside = b"".join(parts[is_text::2])
        weight_ns += sum(ns * outside.count(sign) for sign, ns in _NS_OF.items()) + _NS_A_TEXT * (len(parts) // 2)
        is_text ^= not len(parts) & 1
        at += len(window)
        yield
    return weight_ns / 1e6


def _ns_a_byte(window: bytes) -> float:
    if window.isascii():
        return _NS_A_BYTE
    begun = next((at for at in range(_MOST_FOLLOWING) if window[at : at + 1] not in _FOLLOWING), _MOST_FOLLOWING)
    try:
        utf_8_decode(window[begun:])  # a character may be cut at its end
    except UnicodeDecodeError:
        return _NS_A_BAD_BYTE
    return _NS_A_FOREIGN_BYTE


def _weight_of_escapes_ns(window: bytes) -> float:
    halves = window.count(rb"\ud") + window.count(rb"\uD")
    return _NS_AN_ESCAPE * window.count(b"\\") + _NS_HALF_A_PAIR * halves
