"""Asks a node as a program does, and tells what its headers say."""

import asyncio
import json
import urllib.request
from dataclasses import dataclass

from masa_node.upstreams.demo import MODEL

WITHIN_S = 20.0


@dataclass(frozen=True)
class Asked:
    """Of one answer that was read to its end."""

    request_id: str
    served_by: str


async def ask(url: str, model: str = MODEL, **headers: str) -> Asked:
    """One streamed chat."""
    return await asyncio.to_thread(_ask, url, model, headers)


def _ask(url: str, model: str, headers: dict[str, str]) -> Asked:
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello"}]})
    request = urllib.request.Request(  # noqa: S310 - the node's own address
        f"{url}/v1/chat/completions", body.encode(), {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:  # noqa: S310 - the same
        assert b"[DONE]" in answer.read()
        return Asked(answer.headers["X-Request-Id"], answer.headers["X-Masa-Served-By"])
