"""Covers: `output`, `trying`."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint
from masa_node.cli.output import folded
from masa_node.cli.trying import address_for_others, commands
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.demo import DemoModel
from tests.api.recording_server import RecordingServer, as_ollama, response
from tests.processes import running


@contextlib.contextmanager
def started(folder: Path, *, ending: signal.Signals = signal.SIGTERM, **environ: str) -> Iterator[str]:
    """A node by `masa-node up`, and what it prints until it is settled."""
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "HOME")}
    settings = {"MASA_DIR": str(folder), "PORT": "0", "NETWORK": "off", "FIND_LOCAL": "0", **environ}
    with running(
        [sys.executable, "-m", "masa_node", "up"],
        cwd=folder,
        env={**clean, **settings, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl+C"):
                break
        try:
            yield "".join(lines)
        finally:
            process.send_signal(ending)
            code = process.wait(20)
        assert code == 0


def greeting(folder: Path, **environ: str) -> str:
    """What it prints."""
    with started(folder, **environ) as shown:
        return shown


def test_a_node_that_is_not_to_look_for_servers_does_not_say_that_it_does(tmp_path: Path) -> None:
    shown = greeting(tmp_path)
    assert "Looking" not in shown
    assert "FIND_LOCAL=1" in shown


def test_without_a_model_no_request_is_proposed(tmp_path: Path) -> None:
    shown = greeting(tmp_path)
    assert "curl" not in shown
    assert "masa-node join LINK" in shown
    assert "masa-node models" in shown


def test_with_a_model_a_request_to_it_is_proposed(tmp_path: Path) -> None:
    shown = greeting(tmp_path, DEMO="1")
    assert "  Models: masa-demo\n" in shown
    assert "No LLM server" not in shown
    assert '"model": "masa-demo"' in next(line for line in shown.splitlines() if "curl -N" in line)


PROFILE = """
name = "mine"
chain_id = 31337
rpc_urls = ["http://127.0.0.1:1"]
contract = "0x1111111111111111111111111111111111111111"
"""


def test_it_says_whether_stakes_are_checked(tmp_path: Path) -> None:
    assert "\n  Staking: off - stakes are not checked\n" in greeting(tmp_path)
    (tmp_path / "mine.toml").write_text(PROFILE)
    shown = greeting(tmp_path, STAKE_NETWORK="mine")
    assert "\n  Staking: on - providers: prefer, callers: prefer (mine, chain 31337)\n" in shown


# ---- what is proposed works when it is pasted ----


@pytest.mark.parametrize("keys", ["right-key", "right key, other", "cl'é,other"])
@pytest.mark.parametrize("location", ["environment", ".env"])
def test_what_is_proposed_answers_200_when_pasted_into_a_shell(tmp_path: Path, keys: str, location: str) -> None:
    """A node with keys that listens on all addresses: the real address, the right key, wherever it was set."""
    shell = {name: os.environ[name] for name in ("PATH", "HOME")}
    settings = {"HOST": "0.0.0.0", "DEMO": "1"}  # noqa: S104 - its own key guards it
    if location == ".env":
        (tmp_path / ".env").write_text(f'API_KEY="{keys}"\n')
    else:
        settings["API_KEY"] = shell["API_KEY"] = keys
    with started(tmp_path, **settings) as shown:
        commands = [line.strip() for line in shown.splitlines() if line.startswith("  curl ")]
        assert len(commands) == 2
        assert keys.partition(",")[0] not in shown
        for command in commands:
            done = subprocess.run(
                ["sh", "-c", command.replace("curl ", "curl -sS -w '%{http_code}' ", 1)],
                cwd=tmp_path.parent,
                env=shell,
                capture_output=True,
                timeout=20,
                check=True,
            )
            assert done.stdout.endswith(b"200"), done


def test_the_address_that_other_machines_reach_is_named(tmp_path: Path) -> None:
    shown = greeting(tmp_path, HOST="0.0.0.0", API_KEY="k", DEMO="1")  # noqa: S104 - as above
    address = re.search(r"base URL (http://\S+)/v1", shown)
    assert address is not None
    own = address_for_others(_NodeOn("0.0.0.0"), "http://127.0.0.1:1").partition("//")[2].partition(":")[0]  # type: ignore[arg-type]  # noqa: S104
    assert address[1].startswith(f"http://{own}:")
    assert f'curl -H "Authorization: Bearer $API_KEY" {address[1]}/' in shown


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "192.168.1.5", "::1"])
def test_an_address_that_was_chosen_is_the_one_that_is_named(host: str) -> None:
    assert address_for_others(_NodeOn(host), "http://x:1") == "http://x:1"  # type: ignore[arg-type]


class _NodeOn:
    """As much of a node as its address needs."""

    def __init__(self, host: str) -> None:
        self.settings = Settings(host=host)


def test_a_model_that_only_one_format_reaches_is_asked_in_that_one() -> None:
    node = _NodeOn("127.0.0.1")
    for endpoint, path in ((Endpoint.ANTHROPIC_MESSAGES, "/v1/messages"), (Endpoint.OLLAMA_CHAT, "/api/chat")):
        offers = [(DemoModel(), ModelOffer("it's", frozenset({endpoint, Endpoint.NATIVE})))]
        shown = commands(node, "http://x:1", offers)[-1]  # type: ignore[arg-type]
        assert f" http://x:1{path} -d '" in shown
        body = json.loads(shlex.split(shown)[-1])
        assert (body["model"], "max_tokens" in body) == ("it's", endpoint is Endpoint.ANTHROPIC_MESSAGES)


# ---- no line is wider than the terminal ----

LONG = [f"vendor-{number}/a-model-with-a-very-long-name-{'x' * 30}-instruct-Q4_K_M" for number in range(14)]


@pytest.mark.parametrize("width", [60, 100])
def test_every_line_fits_into_the_terminal_whatever_names_are_in_it(tmp_path: Path, width: int) -> None:
    def server(request: bytes) -> bytes:
        listed = {"models": [{"name": name} for name in LONG]}
        return response(200, listed) if request.startswith(b"GET /api/tags ") else as_ollama(request)

    with RecordingServer(server) as llm, started(tmp_path, LLM_CHAT_URL=llm.url, COLUMNS=str(width)) as shown:
        whole = next(line for line in shown.splitlines() if f'"{LONG[0]}"' in line)  # a name is broken nowhere
        assert max(len(line) for line in shown.splitlines() if line != whole) <= width
        assert len(whole) <= max(width, len(LONG[0]) + 25)
    assert all(name in "".join(shown.split()) for name in LONG[:12])


def test_a_word_that_is_longer_than_a_line_is_broken_and_wide_letters_count_twice() -> None:
    assert folded("  up: " + "x" * 20, 12) == "  up:\n    xxxxxxxx\n    xxxxxxxx\n    xxxx"
    assert folded("水水水 水水水", 8) == "水水水\n  水水水"
    assert folded("fits  as it is", 14) == "fits  as it is"


@pytest.mark.parametrize("width", [30, 60, 100])
@pytest.mark.parametrize("keys", ["right key, other", "cl'é,other"])
def test_a_folded_command_answers_200_when_pasted_into_a_shell(tmp_path: Path, keys: str, width: int) -> None:
    (tmp_path / ".env").write_text(f'API_KEY="{keys}"\n')
    with started(tmp_path, DEMO="1", COLUMNS=str(width)) as shown:
        lines = shown[shown.index("  curl ") : shown.index("Ctrl+C")]
        both = [f"  curl {each}" for each in lines.split("  curl ")[1:]]
        assert len(both) == 2
        for command in both:
            done = subprocess.run(
                ["sh", "-c", command.replace("curl ", "curl -sS -w '%{http_code}' ", 1)],
                cwd=tmp_path.parent,
                env={name: os.environ[name] for name in ("PATH", "HOME")},
                capture_output=True,
                timeout=20,
                check=True,
            )
            assert done.stdout.endswith(b"200"), done


# ---- servers without models, down, none: told alike everywhere ----


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"models": None}, "running without models. Get one: `ollama pull"),
        ({"models": []}, "running without models. Get one: `ollama pull"),
        ({}, "cannot be asked; the node keeps trying (its list of models has no `models`"),  # it was reached
        (None, "cannot be asked; the node keeps trying"),
    ],
)
def test_greeting_list_and_readiness_agree(tmp_path: Path, answer: object, says: str) -> None:
    def server(request: bytes) -> bytes:
        if answer is None:
            return response(500, {})
        return response(200, answer) if request.startswith(b"GET /api/tags ") else as_ollama(request)

    with RecordingServer(server) as llm, started(tmp_path, LLM_CHAT_URL=llm.url) as shown:
        assert says in shown
        assert "curl" not in shown
        base = re.search(r"listens on (\S+)", shown)
        assert base is not None
        listed = subprocess.run(
            [sys.executable, "-m", "masa_node", "models", "--url", base[1]],
            cwd=tmp_path,
            env={**os.environ, "MASA_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
        assert says in " ".join(listed.split())
        with pytest.raises(urllib.error.HTTPError) as ready:
            urllib.request.urlopen(f"{base[1]}/readyz", timeout=10)  # noqa: S310 - of this machine
        told = json.loads(ready.value.read())
        assert (ready.value.code, told["ready"]) == (503, False)
        assert says in told["why"]
        if not answer:
            return  # what is not known to serve nothing is asked
        for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
            body = b'{"model": "nope", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}'
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{base[1]}{path}", body, timeout=20)  # noqa: S310 - of this machine
            assert says in refused.value.read().decode().replace("\\", "")


def test_the_demo_proposes_what_answers_200_too(tmp_path: Path) -> None:
    environ = {name: os.environ[name] for name in ("PATH", "HOME")}
    settings = {"HOST": "0.0.0.0", "API_KEY": "first,second", "MASA_DIR": str(tmp_path), "PORT": "0"}  # noqa: S104 - as above
    with running(
        [sys.executable, "-m", "masa_node", "demo"],
        cwd=tmp_path,
        env={**environ, **settings, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("Ctrl+C"):
                break
        for command in [line for line in lines if line.startswith("curl ")]:
            shell = {**environ, "API_KEY": "first,second"}
            done = subprocess.run(
                ["sh", "-c", f"{command} -sS -w '%{{http_code}}'"],
                env=shell,
                capture_output=True,
                timeout=30,
                check=True,
            )
            assert done.stdout.endswith(b"200")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
