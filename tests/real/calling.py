"""Requests to a node by plain HTTP, by a test that looks at headers, or goes away in the middle. No pytest here."""

import contextlib
import http.client
import json
from collections.abc import Generator, Mapping
from typing import Any

from node_process import Node

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
# 300 tokens: 1.3 s of the slow model's time before its first piece.
LONG: list[Any] = [{"role": "user", "content": "word " * 60}]
CHAT = "/v1/chat/completions"
LLM_TIMEOUT_S = 100.0  # of a trio. In line for a slow model: 5 s on an idle machine, 23 s beside five other runs
_PATIENCE_S = LLM_TIMEOUT_S + 20  # the node's own answer that the time is over comes before


@contextlib.contextmanager
def asked(
    node: Node, model: str, fields: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Generator[http.client.HTTPConnection]:
    """Send a chat request and wait for nothing. Leaving the block is the caller's going away without a word."""
    body = {"model": model, "messages": HELLO, **(fields or {})}
    with contextlib.closing(node.connection(_PATIENCE_S)) as connection:
        connection.request("POST", CHAT, json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
        yield connection


@contextlib.contextmanager
def answered(
    node: Node, model: str, fields: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Generator[http.client.HTTPResponse]:
    """The same, and wait for the head of the answer."""
    with asked(node, model, fields, headers) as connection:
        yield connection.getresponse()
