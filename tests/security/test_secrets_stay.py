"""No prompt, answer or key in logs, metrics, error output, traces of bugs, files or argv - also when all goes wrong.

The original Masa node logged prompts and sent them to an event tracker.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.environment import read_settings
from masa_node.node.settings.upstreams import upstream_specs
from tests.api.raw_http import CHAT, ask_once, chat, get, line_to, post
from tests.api.recording_server import COMPLETION, OLLAMA_MODEL, RecordingServer, as_openai, response
from tests.api.serving import SOURCES, ServingNode

PROMPT = "prompt-5f2d"
ANSWER = "answer-91ac"
CALLERS_KEY = "callers-key-77e0"
WRONG_KEY = "wrong-key-03bb"
UPSTREAM_KEY = "upstream-key-c4d8"
COOKIE = "cookie-1d5e"
QUERY = "query-b6f2"
SECRETS = (PROMPT, ANSWER, CALLERS_KEY, WRONG_KEY, UPSTREAM_KEY, COOKIE, QUERY)
KEYS = (CALLERS_KEY, WRONG_KEY, UPSTREAM_KEY)

LINES = f"Authorization: Bearer {CALLERS_KEY}\r\nCookie: {COOKIE}\r\n".encode()
TARGET = CHAT + b"?x=" + QUERY.encode()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"' + ANSWER.encode() + b'"},"finish_reason":null}]}\n\n'
WHOLE = json.dumps(COMPLETION).replace('"hi"', f'"{ANSWER}"')
ECHO = f"you said {PROMPT} with {UPSTREAM_KEY} and I say {ANSWER}"

# What the LLM server may answer with; most of it is wrong in one way or another.
ANSWERS = {
    "whole": response(200, json.loads(WHOLE)),
    "stream": STREAM_HEAD + PIECE + b"data: [DONE]\n\n",
    "cut stream": STREAM_HEAD + PIECE,
    "cut frame": STREAM_HEAD + PIECE + PIECE[:-20],
    "error in the stream": STREAM_HEAD + PIECE + f'data: {{"error":{{"message":"{ECHO}"}}}}\n\n'.encode(),
    "400": response(400, {"error": {"message": ECHO}}),
    "401": response(401, {"error": {"message": ECHO}}),
    "500": response(500, {"error": {"message": ECHO}}),
    "HTML": response(200, {}).replace(b"application/json", b"text/html") + ECHO.encode(),
    "500 in HTML": b"HTTP/1.1 500 X\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>" + ECHO.encode(),
    "redirect": response(302, {}, b"Location: http://127.0.0.1:1/?" + ECHO.replace(" ", "_").encode()),
    "no HTTP": ECHO.encode() + b"\r\n\r\n",
    "bad header": b"HTTP/1.1 200 OK\r\n" + ECHO.encode() + b"\r\n\r\n",
    "nothing": b"",
    "cut": response(200, json.loads(WHOLE))[:-3],
}
BODIES = [
    chat(OLLAMA_MODEL, say=PROMPT),
    chat(OLLAMA_MODEL, say=PROMPT, stream=True),
    chat(OLLAMA_MODEL, say=PROMPT)[:-1],
    b'{"model": "m", "messages": "' + PROMPT.encode() + b"\xff\xfe",
    b'["' + PROMPT.encode() + b'"]',
    json.dumps({"model": [PROMPT], "messages": []}).encode(),
    chat("not-here", say=PROMPT),
    chat("\n" + PROMPT, say=PROMPT),
    PROMPT.encode(),
]


async def ask_everything(node: ServingNode, llm: RecordingServer) -> list[bytes]:
    """Requests down every path, good and bad; the bodies of the replies that the node itself made."""
    llm.hangs_up = True
    for answer in ANSWERS.values():
        llm.answer = lambda raw, answer=answer: answer if b"/chat/completions " in raw else as_openai(raw)
        for body in BODIES[:2]:
            async with line_to(node.port) as line:
                await line.send(post(body, LINES + b"Connection: close\r\n", target=TARGET))
                assert await line.reader.read()
    llm.answer = as_openai
    wrong = LINES.replace(CALLERS_KEY.encode(), WRONG_KEY.encode())
    targets = (TARGET, b"/v1/messages", b"/api/chat", b"/api/show", b"/api/v1/chat", b"/nowhere")
    requests = [post(body, LINES, target=target) for body in BODIES for target in targets]
    requests += [
        post(BODIES[0], wrong),
        post(BODIES[0], LINES + b"Content-Encoding: gzip\r\n"),
        post(BODIES[0], LINES + b"X : y\r\n"),
        post(BODIES[0], LINES).replace(b"localhost", b"evil.example"),
        b"\0" + post(BODIES[0], LINES),
    ]
    replies = [(await ask_once(node.port, request)).body for request in requests]
    async with line_to(node.port) as line:
        await line.send(post(BODIES[1], LINES)[:-4])  # and hang up
    return replies


def everything_written(node: ServingNode, directory: Path) -> str:
    """stdout, stderr, every file in its folders, and what other users of the machine can see of the process."""
    argv = Path(f"/proc/{node.process.pid}/cmdline").read_bytes()
    files = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    return b"\n".join([argv, *files]).decode(errors="replace") + node.printed


def settings_of(llm: RecordingServer) -> dict[str, str]:
    return {
        "DEMO": "",
        "LLM_CHAT_URL": f"{llm.url}/v1/chat/completions",
        "LLM_CHAT_TOKEN": UPSTREAM_KEY,
        "API_KEY": CALLERS_KEY,
        "LOG_LEVEL": "debug",
        "LLM_TIMEOUT": "3",
    }


@pytest.mark.parametrize("style", ["json", "console"])
async def test_nothing_that_was_said_is_written_anywhere(tmp_path: Path, style: str) -> None:
    with RecordingServer(as_openai) as llm, ServingNode(tmp_path, settings_of(llm) | {"LOG_FORMAT": style}) as node:
        replies = await ask_everything(node, llm)
        metrics = await ask_once(node.port, get(b"/metrics", LINES))
        written = everything_written(node, tmp_path) + metrics.body.decode()
    assert "not-here" in written  # the right things were looked at
    assert "masa_requests_total" in written
    assert [secret for secret in SECRETS if secret in written + node.log] == []
    assert [key for key in KEYS for reply in replies if key.encode() in reply] == []


async def test_the_trace_of_a_bug_shows_no_prompt_either(tmp_path: Path) -> None:
    bug: Mapping[str, object] = {"masa_node.api.responses.abridged": "no function"}
    with RecordingServer(as_openai) as llm, ServingNode(tmp_path, settings_of(llm), bug) as node:
        node.may_show_traces = True
        llm.answer = lambda raw: ANSWERS["whole"] if b"/chat/completions " in raw else as_openai(raw)
        reply = await ask_once(node.port, post(BODIES[0], LINES, target=TARGET))
        assert reply.status == 500
        assert b"callable" not in reply.body
        assert b"Traceback" not in reply.body
        await ask_everything(node, llm)
    assert "Traceback" in node.log
    assert [secret for secret in SECRETS if secret in node.log] == []


def test_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    keys = dict.fromkeys(("LLM_CHAT_TOKEN", "LLM_CF_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"), UPSTREAM_KEY)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES), "API_KEY": CALLERS_KEY, **keys}
    command = [sys.executable, "-m", "masa_node", "settings"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, timeout=20, check=True)
    shown = (done.stdout + done.stderr).decode()
    assert shown.count("***") == 5
    assert [key for key in KEYS if key in shown] == []
    assert [key for key in KEYS if key in repr(read_settings(environment, tmp_path / ".env"))] == []


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{UPSTREAM_KEY}@localhost/#x",
        f"http://user:{UPSTREAM_KEY}@localhost:99999",
        f"http://localhost/?key={UPSTREAM_KEY}#x",
    ],
)
def test_a_refused_setting_is_named_without_the_secret_in_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="LLM_CHAT_URL") as refused:
        upstream_specs(read_settings({"LLM_CHAT_URL": url}, tmp_path / ".env"))
    assert UPSTREAM_KEY not in refused.value.message
