"""Structured logging: how lines look, and the one line a request."""

import asyncio
import atexit
import contextlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from itertools import islice
from typing import Any, BinaryIO, TextIO, cast

import msgspec
import structlog

from masa_node.chat.outcome import Outcome
from masa_node.telemetry.request_record import REQUEST, TIME_OF_DAY, RequestRecord, UtcText, level_of, record_of

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_CHAINED = 8
_COLORS = {True: "\x1b[32m", False: "\x1b[33m"}  # green: a whole answer; yellow: anything else
_PLAIN = "\x1b[0m"
_OF_STRUCTLOG = frozenset({"event", "level", "timestamp"})

log = structlog.get_logger()
_Ended = tuple[Outcome, str]  # how a request ended, and at which level that is told
_utc_text = UtcText()
_encode = msgspec.json.Encoder().encode


def _record_of(ended: _Ended) -> RequestRecord:
    return record_of(*ended, _utc_text(ended[0].ended_at_unix_ns))


def _through_structlog(ended: _Ended) -> None:
    """As any rare line: a program with a node inside, which calls no `configure`, has set structlog up for itself."""
    record = msgspec.structs.asdict(_record_of(ended))
    log.log(LEVELS[ended[1]], REQUEST, **{name: value for name, value in record.items() if name not in _OF_STRUCTLOG})


class _Requests:
    """How the line of a request is written: past structlog, whose chain would take as long as all the rest of it."""

    def __init__(self) -> None:
        self.least_level = 0
        self.write: Callable[[_Ended], None] = _through_structlog


_requests = _Requests()


def configure(level: str, style: str, out: TextIO | None = None) -> None:
    """Set up logging once, at the start. `style`: `json`, `console`, or `auto` (console on a terminal). To stderr."""
    stream: TextIO = out if out is not None else sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _trace,
    ]
    factory: structlog.typing.BindableLogger | Any
    if style == "json" or (style == "auto" and not stream.isatty()):
        shared.append(_json)
        lines = _TurnOfLines(stream.buffer)
        factory = structlog.BytesLoggerFactory(cast("BinaryIO", lines))
        _requests.write = lines.add
    else:
        shared.append(_printable)
        shared.append(_ForPeople(colors=stream.isatty()))
        text = _WhileRead(stream)
        factory = structlog.PrintLoggerFactory(cast("TextIO", text))
        _requests.write = _as_text(text, colors=stream.isatty())
    _requests.least_level = LEVELS[level]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    library = logging.getLogger("asyncio")
    library.handlers, library.propagate = [_Forward(logging.WARNING)], False


class _Forward(logging.Handler):
    """What a library warns of, as a line of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        message = record.getMessage().partition("\n")[0]  # asyncio goes on with the `repr` of what failed
        log.log(record.levelno, "library", name=record.name, message=message)


def _trace(logger: object, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Where an exception came from, but not its words: they may repeat what was said."""
    del logger, name
    abridged = event.pop("exc_info", None)
    error = abridged if isinstance(abridged, BaseException) else sys.exception() if abridged else None
    if error is not None:
        event["exception"] = "\n".join(islice(_tracebacks(error), MAX_CHAINED))
    return event


def _tracebacks(error: BaseException) -> Iterator[str]:
    frames = "".join(traceback.format_tb(error.__traceback__))
    yield f"Traceback (most recent call last):\n{frames}{type(error).__qualname__}"
    if isinstance(error, BaseExceptionGroup):
        for part in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _tracebacks(part)
    before = error.__cause__ or error.__context__
    if before is not None:
        yield from _tracebacks(before)


def _printable(logger: object, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No text from outside may steer the terminal that it is shown on. (JSON escapes by itself.)"""
    del logger, name
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable() and key != "exception":
            event[key] = repr(value)
    return event


class _WhileRead:
    """A terminal or pipe of which nobody may read any more; that must cost no request its answer."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        """Write, if it can be written."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            self._out.write(text)
        return len(text)

    def flush(self) -> None:
        """The same."""
        with contextlib.suppress(OSError, ValueError):
            self._out.flush()


class _ForPeople:
    """One line for each rare event."""

    def __init__(self, *, colors: bool) -> None:
        self._others = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, pad_level=False)

    def __call__(self, logger: object, name: str, event: MutableMapping[str, Any]) -> str:
        event["timestamp"] = str(event["timestamp"])[TIME_OF_DAY]
        return self._others(logger, name, event)


class _TurnOfLines:
    """A file that writes the lines of one turn of the event loop together: under load, several requests end in one.

    Their lines are made together, too: what makes one is then still at hand for the next.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lines: list[bytes | _Ended] = []
        atexit.register(self._write_out)

    def add(self, line: bytes | _Ended) -> None:
        """Take a line, or what is to be one; it is written before the loop waits for anything. Without one at once."""
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._write_out)
            except RuntimeError:
                self._write_out()

    def write(self, line: bytes) -> int:
        """The same, as files have it."""
        self.add(line)
        return len(line)

    def flush(self) -> None:
        """Nothing to do: the end of the turn is near."""

    def _write_out(self) -> None:
        waiting, self._lines = self._lines, []
        if waiting:
            lines = [each if isinstance(each, bytes) else _encode(_record_of(each)) + b"\n" for each in waiting]
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or the disk is full
                self._out.write(b"".join(lines))
                self._out.flush()


def log_outcome(outcome: Outcome) -> None:
    """The one line of a request."""
    level = "info" if outcome.error is None else level_of(outcome)
    if LEVELS[level] >= _requests.least_level:
        _requests.write((outcome, level))


def _as_text(out: "_WhileRead", *, colors: bool) -> Callable[[_Ended], None]:
    """One line that fits into a terminal. JSON has all of it."""
    from masa_node.telemetry.request_line import request_line  # noqa: PLC0415 - imports a part of rich

    def write(ended: _Ended) -> None:
        record = _record_of(ended)
        line = request_line(record)
        out.write(f"{_COLORS[record.error is None]}{line}{_PLAIN}\n" if colors else f"{line}\n")
        out.flush()

    return write


def _json(logger: object, name: str, event: MutableMapping[str, Any]) -> bytes:
    del logger, name
    return msgspec.json.encode(event, enc_hook=str)
