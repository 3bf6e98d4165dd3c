"""What a web page gets: headers that its script may read, and nothing that a browser would take for a page.

Covers: `guard`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.raw_http import LOCALHOST, Reply, ask_once, chat, get, head, line_to, post
from tests.api.recording_server import COMPLETION, OLLAMA_MODEL, RecordingServer, as_openai, response
from tests.api.serving import ServingNode

PAGE = b"Origin: http://localhost:3000\r\n"
HTML = b"text/html; charset=utf-8"


def as_html(request: bytes) -> bytes:
    """A server that labels its JSON as HTML, and puts into it what would run there."""
    if not request.startswith(b"POST"):
        return as_openai(request)
    script = "<script>alert(1)</script>"
    if b"fail" in request:
        told = response(429, {"error": {"message": script}}, b"Retry-After: 3", b"X-RateLimit-Limit-Requests: 9")
    else:
        told = response(200, COMPLETION | {"system_fingerprint": script})
    return told.replace(b"application/json", HTML, 1)


@pytest.fixture(scope="module")
def fronting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    with RecordingServer(as_html) as llm:
        settings = {"DEMO": "", "LLM_CHAT_URL": f"{llm.url}/v1/chat/completions"}
        with ServingNode(tmp_path_factory.mktemp("fronting"), settings) as running:
            yield running


def exposed(reply: Reply) -> set[str]:
    return {name.strip() for name in str(reply.header("access-control-expose-headers")).split(",")}


async def test_a_script_may_read_every_header_of_an_answer(fronting: ServingNode) -> None:
    for say in ("hello", "fail"):
        reply = await ask_once(fronting.port, post(chat(OLLAMA_MODEL, say=say), PAGE))
        sent = {name for name, _ in reply.headers if not name.startswith(("access-control-", "connection"))}
        assert sent - {"date", "x-content-type-options", "x-masa-node"} <= exposed(reply)
        assert {"x-request-id", "x-masa-served-by", "x-masa-attempts", "x-masa-node", "retry-after"} <= exposed(reply)
    assert (reply.status, reply.header("retry-after")) == (429, "3")


async def test_so_may_it_of_a_stream_a_list_and_an_error_of_ours(node: ServingNode) -> None:
    requests = [post(chat(stream=True), PAGE), get(b"/v1/models", PAGE), get(b"/nowhere", PAGE), post(b"{", PAGE)]
    for request in requests:
        assert {"x-request-id", "x-masa-node", "content-type"} <= exposed(await ask_once(node.port, request))


async def test_who_is_no_page_is_told_nothing_of_it(node: ServingNode) -> None:
    assert (await ask_once(node.port, post(chat()))).header("access-control-expose-headers") is None


async def test_an_llms_error_is_json_to_a_browser_whatever_its_label_says(fronting: ServingNode) -> None:
    reply = await ask_once(fronting.port, post(chat(OLLAMA_MODEL, say="fail")))
    assert (reply.status, reply.header("content-type")) == (429, "application/json")
    assert b"<script>" in reply.body


async def test_an_llms_answer_is_never_labelled_as_a_page(fronting: ServingNode) -> None:
    reply = await ask_once(fronting.port, post(chat(OLLAMA_MODEL)))
    assert (reply.status, b"<script>" in reply.body) == (200, True)
    assert "html" not in str(reply.header("content-type"))


async def test_no_answer_is_sniffed(node: ServingNode, fronting: ServingNode) -> None:
    requests = [
        post(chat()),
        post(chat(stream=True)),
        post(chat("nobody")),
        post(b"{"),
        get(b"/"),
        get(b"/v1/models"),
        get(b"/<script>alert(1)</script>".replace(b"<", b"%3C").replace(b">", b"%3E")),
        head(b"DELETE", b"/v1/models"),
        get(b"/healthz", host=b"Host: evil.example\r\n"),
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + LOCALHOST + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    ]
    for request in requests:
        assert (await ask_once(node.port, request)).header("x-content-type-options") == "nosniff"
    for say in ("hello", "fail"):
        reply = await ask_once(fronting.port, post(chat(OLLAMA_MODEL, say=say)))
        assert reply.header("x-content-type-options") == "nosniff"


async def test_a_page_of_the_nodes_own_origin_may_use_it(node: ServingNode) -> None:
    """Under whatever name and port it was reached."""
    async with line_to(node.port) as line:
        for location in (b"192.168.1.7:9000", b"[fd00::1]:8080", b"10.0.0.1"):
            request = post(chat(), b"Origin: http://" + location + b"\r\n", host=b"Host: " + location + b"\r\n")
            reply = await line.ask(request)
            assert (reply.status, reply.header("access-control-allow-origin")) == (200, f"http://{location.decode()}")
        request = post(chat(), b"Origin: http://10.0.0.2\r\n", host=b"Host: 10.0.0.1\r\n")
        assert (await line.ask(request)).status == 403


def test_a_setting_that_can_never_match_stops_the_start_with_words(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="did not start"), ServingNode(tmp_path, {"ALLOWED_ORIGINS": "*"}) as node:
        pytest.fail(node.address)
    assert "ALLOWED_ORIGINS: '*' would let every web page use this node" in (tmp_path / "node.log").read_text()
