"""Everything here runs on the event loop that `masa-node up` uses; the client itself on asyncio's own as well."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import structlog

LoopFactories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {}
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        factories["asyncio"] = asyncio.new_event_loop
    else:
        factories["uvloop"] = uvloop.new_event_loop
        if item.get_closest_marker("on_every_loop"):
            factories["asyncio"] = asyncio.new_event_loop
    return factories


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "on_every_loop: run on asyncio's own event loop as well as on uvloop")


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[list[Any]]:
    """What the node logs; no test may make it stumble over its own code."""
    with structlog.testing.capture_logs() as lines:
        yield lines
    bugs = [line for line in lines if line["event"] == "bug"]
    assert not bugs, bugs
