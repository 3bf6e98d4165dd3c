"""LLM servers for the console's tests: one model with a name that bites, which answers as a test wants."""

import contextlib
import json
from collections.abc import AsyncIterator

from masa_node import Node, serve
from tests.fakes.dialect_samples import OPENAI
from tests.fakes.http_bytes import LAST_CHUNK, chunk, stream_head, whole
from tests.fakes.llm_server import FakeLlm, Script, Step, send
from tests.fakes.running import settings_of

STRANGERS_MODEL = "<script>alert(1)</script>"
FORMULA = "=1+1"  # as a spreadsheet would take it
MODELS = (STRANGERS_MODEL, "plain", FORMULA)
DONE = b"data: [DONE]\n\n"


def piece(**delta: str) -> bytes:
    """One event of OpenAI's stream."""
    return b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}).encode()


LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n' + DONE


def says(*pieces: bytes) -> Step:
    """A whole answer of these."""
    return send(stream_head(OPENAI.content_type) + b"".join(map(chunk, [*pieces, LAST])) + LAST_CHUNK)


def begins(*pieces: bytes) -> Step:
    """The beginning of one."""
    return send(stream_head(OPENAI.content_type) + b"".join(map(chunk, pieces)))


@contextlib.asynccontextmanager
async def node_before(*script: Step, **settings: str) -> AsyncIterator[tuple[FakeLlm, Node]]:
    """An LLM server with MODELS that plays this for each chat, and a node in front of it."""
    listing: Script = (send(whole(json.dumps({"data": [{"id": name} for name in MODELS]}).encode())),)
    async with (
        OPENAI.fake(*script, listings=(listing,)) as llm,
        serve(settings_of(**OPENAI.settings(llm.url), **settings), grace_s=1.0) as node,
    ):
        yield llm, node
