"""Logging as the node sets it up, into memory, and undone afterwards."""

import io
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from masa_node.telemetry import log

Written = Callable[[], str]


class Terminal(io.TextIOWrapper):
    """A stream in memory that says what it is told to about being a terminal."""

    is_terminal = False

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.fixture
def logging_to_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Written]]:
    """Call it with level and style: a function that tells what was written since."""
    names = ("asyncio",)
    before = {name: (logging.getLogger(name).handlers, logging.getLogger(name).propagate) for name in names}
    monkeypatch.setattr(log, "log", structlog.get_logger())  # a cached logger would write to the first stream for ever
    monkeypatch.setattr(log, "_requests", log._Requests())

    def configure(level: str, style: str, *, is_terminal: bool = False) -> Written:
        stream = Terminal(io.BytesIO(), encoding="utf-8", write_through=True)
        stream.is_terminal = is_terminal
        log.configure(level, style, stream)

        def written() -> str:
            stream.flush()
            raw = stream.buffer
            assert isinstance(raw, io.BytesIO)
            return raw.getvalue().decode()

        return written

    yield configure
    structlog.reset_defaults()
    for name, (handlers, propagates) in before.items():
        logging.getLogger(name).handlers = handlers
        logging.getLogger(name).propagate = propagates
