"""`/healthz` is about the process, `/readyz` about what is behind it.

Covers: `routes`, `control.node_view`.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.api.raw_http import Reply, ask_once, get
from tests.api.recording_server import RecordingServer, as_openai, response
from tests.api.serving import ServingNode

PATIENCE_S = 10.0


async def eventually(port: int, target: bytes, holds: Callable[[Reply], bool]) -> Reply:
    """Ask until it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            reply = await ask_once(port, get(target))
            if holds(reply):
                return reply
            await asyncio.sleep(0.02)


async def test_it_is_ready_when_an_llm_server_was_reached(tmp_path: Path) -> None:
    with RecordingServer(lambda _: response(503, {"error": "loading"})) as llm:
        settings = {"DEMO": "", "LLM_CHAT_URL": f"{llm.url}/v1/chat/completions", "LLM_REFRESH": "1"}
        with ServingNode(tmp_path, settings) as node:
            assert (await ask_once(node.port, get(b"/healthz"))).json() == {"status": "ok"}
            reply = await ask_once(node.port, get(b"/readyz"))
            assert (reply.status, reply.json()["ready"]) == (503, False)
            llm.answer = as_openai
            reply = await eventually(node.port, b"/readyz", lambda reply: reply.status == 200)
            (upstream,) = reply.json()["upstreams"]  # type: ignore[misc]
            assert (reply.json()["ready"], upstream["name"], upstream["state"]) == (True, "llm", "up")
            assert b'masa_upstream_up{upstream="llm"} 1.0' in (await ask_once(node.port, get(b"/metrics"))).body
            llm.answer = lambda _: response(500, {})
            await eventually(node.port, b"/readyz", lambda reply: reply.status == 503)
            assert (await ask_once(node.port, get(b"/healthz"))).status == 200


async def test_with_nothing_behind_it_it_is_alive_but_not_ready(tmp_path: Path) -> None:
    with ServingNode(tmp_path, {"DEMO": ""}) as node:
        assert (await ask_once(node.port, get(b"/healthz"))).status == 200
        ready = (await ask_once(node.port, get(b"/readyz"))).json()
        assert (ready["ready"], ready["upstreams"]) == (False, [])
        assert "set LLM_CHAT_URL" in str(ready["why"])
        assert (await ask_once(node.port, get(b"/v1/models"))).json()["data"] == []
