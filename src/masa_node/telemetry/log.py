"""Structured logging: how lines look, and the one line a request."""

import asyncio
import atexit
import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from itertools import islice
from typing import Any, BinaryIO, TextIO, cast

import msgspec
import structlog

from masa_node.chat.outcome import CALLER_GONE, Attempt, Outcome, abridged
from masa_node.telemetry.request_line import TIME_OF_DAY, request_line

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_CHAINED = 8
REQUEST = "request"
_COLORS = {True: "\x1b[32m", False: "\x1b[33m"}  # green: a whole answer; yellow: anything else
_PLAIN = "\x1b[0m"

log = structlog.get_logger()


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
        factory = structlog.BytesLoggerFactory(cast("BinaryIO", _TurnOfLines(stream.buffer)))
    else:
        shared.append(_printable)
        shared.append(_ForPeople(colors=stream.isatty()))
        factory = structlog.PrintLoggerFactory(cast("TextIO", _WhileRead(stream)))
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    # The HTTP server's own lines would repeat ours, and its tracebacks say nothing new.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        _redirect(name, logging.NullHandler())
    _redirect("asyncio", _Forward(logging.WARNING))


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


def _redirect(name: str, handler: logging.Handler) -> None:
    logger = logging.getLogger(name)
    logger.handlers = [handler]
    logger.propagate = False


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
    """One line for each event; that of a request fits into a terminal. JSON has all of it."""

    def __init__(self, *, colors: bool) -> None:
        self._colors = colors
        self._others = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, pad_level=False)

    def __call__(self, logger: object, name: str, event: MutableMapping[str, Any]) -> str:
        if event.get("event") == REQUEST:
            line = request_line(event)
            return f"{_COLORS[event['error'] is None]}{line}{_PLAIN}" if self._colors else line
        event["timestamp"] = str(event["timestamp"])[TIME_OF_DAY]
        return self._others(logger, name, event)


class _TurnOfLines:
    """A file that writes the lines of one turn of the event loop together: under load, several requests end in one."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lines: list[bytes] = []
        atexit.register(self._write_out)

    def write(self, line: bytes) -> int:
        """Take a line; it is written before the loop waits for anything. Without a loop at once."""
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._write_out)
            except RuntimeError:
                self._write_out()
        return len(line)

    def flush(self) -> None:
        """Nothing to do: the end of the turn is near."""

    def _write_out(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or the disk is full
                self._out.write(b"".join(lines))
                self._out.flush()


def log_outcome(outcome: Outcome) -> None:
    """The one line of a request."""
    has_lost_a_race = outcome.requester is not None and outcome.error == CALLER_GONE
    level = logging.INFO if outcome.error is None or has_lost_a_race else logging.WARNING
    log.log(
        level,
        REQUEST,
        request_id=outcome.request_id,
        endpoint=outcome.endpoint.value,
        model=outcome.model,
        status=outcome.status,
        error=outcome.error,
        stream=outcome.wants_stream,
        served_by=outcome.served_by,
        attempts=trail(outcome.attempts),
        race=outcome.race,
        hedges=outcome.hedges,
        requester=outcome.requester,
        total_ms=_ms(outcome.total_s),
        first_piece_ms=_ms(outcome.first_piece_s),
        queued_ms=_ms(outcome.queued_s),
        body_bytes=outcome.body_bytes,
        answer_bytes=outcome.answer_bytes,
        pieces=outcome.pieces,
        input_tokens=outcome.input_tokens,
        output_tokens=outcome.output_tokens,
    )


def trail(attempts: tuple[Attempt, ...]) -> str:
    """The attempts in one short text, at most MAX_TRAIL of them."""
    return ", ".join(f"{attempt.provider}={attempt.result}" for attempt in abridged(attempts))


def _ms(seconds: float | None) -> float | None:
    return round(seconds * 1000, 2) if seconds is not None else None


def _json(logger: object, name: str, event: MutableMapping[str, Any]) -> bytes:
    del logger, name
    return msgspec.json.encode(event, enc_hook=str)
