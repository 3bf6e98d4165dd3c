"""The recipes "a POST endpoint" and "a GET endpoint": a row each. Done to a copy of the sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POST = """
import asyncio
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, send
from tests.fakes.raw_http import post
from tests.fakes.running import running_node
from masa_node.api.views.openapi import describe
from masa_node.api.routes import GETS

ANSWER = b'{"object":"list","data":[{"index":0,"score":1.0}]}'

async def main():
    models = whole(b'{"object":"list","data":[{"id":"m"}]}')
    async with (
        FakeLlm().answer("/v1/models", (send(models),)).answer("/v1/toys", (send(whole(ANSWER)),)) as llm,
        running_node(LLM_CHAT_URL=llm.url) as node,
    ):
        reply = await post(node.port, "/v1/toys", b'{"model":"m"}')
        assert (reply.status, reply.body) == (200, ANSWER), reply
        assert [got.body for got in llm.asked("/v1/toys")] == [b'{"model":"m"}']
        unknown = await post(node.port, "/v1/toys", b'{"model":"x"}')
        assert (unknown.status, b'"model_not_found"' in unknown.body) == (404, True), unknown
    assert describe(GETS)["paths"]["/v1/toys"]["post"]["summary"] == "Toys"

asyncio.run(main())
"""
GET = """
import asyncio
from tests.fakes.raw_http import get, post
from tests.fakes.running import running_node
from masa_node.api.views.openapi import describe
from masa_node.api.routes import GETS

async def main():
    async with running_node() as node:
        reply = await get(node.port, "/api/v1/toys")
        assert (reply.status, reply.body) == (200, b'["bear"]'), reply
        assert (await post(node.port, "/api/v1/toys", b"{}")).status == 405
    assert describe(GETS)["paths"]["/api/v1/toys"]["get"]["summary"] == "Toys"

asyncio.run(main())
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "src" / "masa_node"


def write(path: Path, after: str, line: str) -> None:
    """This line, behind the one place where `after` stands."""
    text = path.read_text("utf-8")
    assert text.count(after) == 1
    path.write_text(text.replace(after, after + line), "utf-8")


def run(sources: Path, script: str) -> None:
    """The script, with these sources in front of the installed ones."""
    environ = {**os.environ, "PYTHONPATH": f"{sources.parent}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=sources, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_post_endpoint_of_openais_is_a_row(sources: Path) -> None:
    request = sources / "chat" / "request.py"
    write(request, '    CLOUDFLARE_RUN = "cloudflare.run"\n', '    OPENAI_TOYS = "openai.toys"\n')
    row = '    Endpoint.OPENAI_TOYS: EndpointFacts(DialectName.OPENAI, "Toys", ("/v1/toys",)),\n'
    write(request, "ENDPOINTS: dict[Endpoint, EndpointFacts] = {\n", row)
    run(sources, POST)


def test_a_get_endpoint_is_a_row(sources: Path) -> None:
    row = '    NodeEndpoint("/api/v1/toys", "Toys"): lambda _view, _asked: ["bear"],\n'
    write(sources / "api" / "routes.py", "GETS: dict[NodeEndpoint, Make] = {\n", row)
    run(sources, GET)
