"""A node that brings its LLM itself: real clients, a process that is killed, and a node that is killed."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import ollama
import openai
import pytest
from conftest import CACHE, StartNode
from llama_server import models
from meeting import wait_until
from node_process import ENVIRONMENT_KEPT, Node

from masa_node.chat.errors import ConfigurationError
from masa_node.upstreams.embedded.fetch import fetch_smollm2
from masa_node.upstreams.embedded.model import runtime_is_installed
from tests.lacking import lacking
from tests.processes import running

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
IN_CLEAR = "embedded.program"  # how its process is told from others
GONE_WITHIN_S = 5.0
END_S = 20.0  # of a demo that is told to, on a busy machine


@pytest.fixture(scope="module", autouse=True)
def _with_llama_cpp() -> None:
    if not runtime_is_installed():
        lacking("no wheel of xllamacpp is installed")


def model(name: str) -> str:
    """A file with a known answer."""
    return str(models()[name].write_into(CACHE / "models"))


@pytest.fixture(scope="module")
def counting(start_node: StartNode) -> Iterator[Node]:
    with start_node(LLM=model("count"), LLM_CONTEXT="4096") as node:
        yield node


def model_id(node: Node) -> str:
    (entry,) = node.get("/v1/models")["data"]
    return str(entry["id"])


def processes_of(parent: int) -> list[int]:
    """The LLM's processes that this node has started."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_one = IN_CLEAR in (folder / "cmdline").read_text()
            if is_one and int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(folder.name))
    return found


def is_alive(pid: int) -> bool:
    """Is it there, and no zombie?"""
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def text_of(client: openai.OpenAI, name: str, **more: Any) -> str:  # noqa: ANN401 - the SDK's
    answer = client.chat.completions.create(model=name, messages=HELLO, max_tokens=5, **more)
    return str(answer.choices[0].message.content)


# ---- clients ----


def test_an_openai_client_gets_the_models_answer_whole_and_piece_by_piece(
    counting: Node, openai_at: Callable[[str], openai.OpenAI]
) -> None:
    client = openai_at(counting.url)
    name = model_id(counting)
    assert text_of(client, name) == " 1 2 3 4 5"
    stream = client.chat.completions.create(model=name, messages=HELLO, max_tokens=5, stream=True)
    pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert [piece for piece in pieces if piece] == [" 1", " 2", " 3", " 4", " 5"]


def test_an_anthropic_client_gets_the_models_answer_whole_and_piece_by_piece(
    counting: Node, anthropic_at: Callable[[str], anthropic.Anthropic]
) -> None:
    client = anthropic_at(counting.url)
    name = model_id(counting)
    message = client.messages.create(model=name, messages=HELLO, max_tokens=5)
    assert [block.text for block in message.content if block.type == "text"] == [" 1 2 3 4 5"]
    with client.messages.stream(model=name, messages=HELLO, max_tokens=5) as stream:
        assert "".join(stream.text_stream) == " 1 2 3 4 5"


def test_an_ollama_client_gets_the_models_answer_whole_and_piece_by_piece(
    counting: Node, ollama_at: Callable[[str], ollama.Client]
) -> None:
    client = ollama_at(counting.url)
    name = model_id(counting)
    assert [entry.model for entry in client.list().models] == [name]
    assert client.chat(name, HELLO, options={"num_predict": 5}).message.content == " 1 2 3 4 5"
    pieces = [part.message.content for part in client.chat(name, HELLO, options={"num_predict": 5}, stream=True)]
    assert [piece for piece in pieces if piece] == [" 1", " 2", " 3", " 4", " 5"]


def test_an_answer_in_one_piece_may_take_longer_than_silence_is_accepted(
    start_node: StartNode, openai_at: Callable[[str], openai.OpenAI]
) -> None:
    """The model is asked for so many tokens that it works for several times LLM_TIMEOUT."""
    with start_node(LLM=model("slow"), LLM_TIMEOUT="1", LLM_THREADS="1") as node:
        client = openai_at(node.url)
        answer = client.chat.completions.create(model=model_id(node), messages=HELLO, max_tokens=200)
        assert answer.choices[0].finish_reason == "length"


# ---- its life ----


def test_it_is_listed_as_an_llm_server_of_this_node(counting: Node) -> None:
    (server,) = counting.get("/readyz")["upstreams"]
    assert {"name": "embedded", "kind": "llama.cpp, started by this node", "state": "up"}.items() <= server.items()
    (entry,) = counting.get("/api/v1/llm/models")["models"]
    assert entry["served_by"] == [{"provider": "embedded", "local": True}]
    chats = ["/api/v1/chat", "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"]
    assert sorted(entry["endpoints"]) == sorted([*chats, "/v1/messages/count_tokens"])  # llama.cpp refuses all others


def test_its_port_wants_a_key_that_no_other_user_of_the_machine_knows(counting: Node) -> None:
    (pid,) = processes_of(counting.pid)
    inodes = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (address,) = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    host, _, port = address.partition(":")
    assert host == "0100007F"  # 127.0.0.1
    answer = httpx2.post(f"http://127.0.0.1:{int(port, 16)}/v1/chat/completions", json={"messages": HELLO})
    assert answer.status_code == 401


def test_a_killed_process_is_replaced_and_meanwhile_the_error_is_true(
    start_node: StartNode, openai_at: Callable[[str], openai.OpenAI]
) -> None:
    with start_node(LLM=model("count"), LLM_CONTEXT="1024") as node:
        client, name = openai_at(node.url), model_id(node)
        (pid,) = processes_of(node.pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid))
        with pytest.raises(openai.APIStatusError) as refused:
            text_of(client, name)
        assert refused.value.status_code in (502, 503)
        assert "it was ended by signal 9; it is started again within 1 s" in refused.value.message
        wait_until(lambda: node.status_of("/readyz") == 200 and processes_of(node.pid))
        wait_until(lambda: answers(client, name))


def answers(client: openai.OpenAI, name: str) -> bool:
    with contextlib.suppress(openai.APIStatusError):
        return text_of(client, name) == " 1 2 3 4 5"
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_with_the_node_however_that_ends(start_node: StartNode, number: signal.Signals) -> None:
    with start_node(LLM=model("count"), LLM_CONTEXT="1024") as node:
        (pid,) = processes_of(node.pid)
        assert is_alive(pid)
        os.kill(node.pid, number)
        wait_until(lambda: not is_alive(pid), GONE_WITHIN_S)


def test_a_model_that_cannot_be_loaded_is_said_so(start_node: StartNode, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    with start_node(ready_path="/healthz", LLM=str(broken)) as node:
        wait_until(lambda: "its model was not loaded" in node.log.read_text())


# ---- the demo ----


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Call it with settings: `masa-node demo --json`."""
    kept = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
    with contextlib.ExitStack() as started:

        def start(**settings: str) -> subprocess.Popen[str]:
            process = started.enter_context(
                running(
                    [sys.executable, "-m", "masa_node", "demo", "--json"],
                    cwd=tmp_path,
                    env={**kept, "MASA_DIR": str(tmp_path), "PORT": "0", **settings},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            started.callback(process.wait, END_S)
            started.callback(process.terminate)  # before
            return process

        yield start


def test_the_demos_peers_race_with_a_real_llm(
    demo: Callable[..., subprocess.Popen[str]], openai_at: Callable[[str], openai.OpenAI]
) -> None:
    output = demo(LLM=model("count"), LLM_CONTEXT="1024").stdout
    assert output is not None
    listening, ready = (json.loads(output.readline()) for _ in range(2))
    assert ready["is_real_llm"]
    assert ready["model"].startswith("count")
    assert text_of(openai_at(listening["address"]), ready["model"]) == " 1 2 3 4 5"
    steps = [json.loads(output.readline()) for _ in range(4)]
    assert [step["step"] for step in steps] == ["asked", "asked", "won", "cancelled"]
    assert {step["provider"] for step in steps} == set(ready["peers"])


def test_the_demo_only_echoes_if_its_llm_cannot_be_loaded_and_says_why(
    demo: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    output = demo(LLM=str(broken), LOG_LEVEL="error").stdout
    assert output is not None
    _, ready = (json.loads(output.readline()) for _ in range(2))
    assert (ready["model"], ready["is_real_llm"]) == ("masa-demo", False)
    assert "broken could not be started: its model was not loaded" in ready["why_no_real_llm"]


# ---- the small model ----


def test_the_small_model_answers_openai_and_anthropic_clients(
    start_node: StartNode,
    openai_at: Callable[[str], openai.OpenAI],
    anthropic_at: Callable[[str], anthropic.Anthropic],
) -> None:
    try:
        path = fetch_smollm2()
    except ConfigurationError as exc:
        lacking(exc.message)
    with start_node(LLM="smollm2", XDG_CACHE_HOME=str(path.parents[1])) as node:
        assert model_id(node) == "smollm2"
        request: dict[str, Any] = {"model": "smollm2", "max_tokens": 8, "messages": HELLO}
        told = openai_at(node.url).chat.completions.create(**request)
        assert re.search("[A-Za-z]{3}", str(told.choices[0].message.content))
        with anthropic_at(node.url).messages.stream(**request) as stream:
            assert re.search("[A-Za-z]{3}", "".join(stream.text_stream))
