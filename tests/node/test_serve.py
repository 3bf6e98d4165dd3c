"""A node inside a program: `serve` starts it, and nothing of it is left when the block has ended.

Covers: `peering.service`, `peering.network`, `peering.parts`.
"""

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import pytest
import structlog

import masa_node
from masa_node import Node, Settings, serve
from masa_node.chat.errors import ConfigurationError
from masa_node.network.requests.server import PeerServer
from masa_node.upstreams.demo import MODEL
from masa_node.upstreams.poller import ModelPoller
from tests.fakes.dialect_samples import ANTHROPIC, OLLAMA, OPENAI, DialectSample
from tests.fakes.http_bytes import LAST_CHUNK, chunk
from tests.fakes.llm_server import FakeLlm, send, stall, until, wait_for
from tests.fakes.raw_http import calling, get, post, request

ENDS_WITHIN_S = 5.0  # on a busy machine
QUIET = {"port": 0, "network": "off", "find_local": False, "masa_dir": os.devnull, "masa_config": os.devnull}


def settings(**more: object) -> Settings:
    return Settings(**{**QUIET, **more})  # type: ignore[arg-type]


def before_llm(llm: FakeLlm, sample: DialectSample = OPENAI) -> Settings:
    return settings(**{name.lower(): value for name, value in sample.settings(llm.url).items()})


def port_of(node: Node) -> int:
    return int(node.url.rpartition(":")[2])


def is_taken(port: int) -> bool:
    """Without a connection: one that comes while a server is being closed is left to its end by asyncio of 3.11."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


async def test_a_node_answers_at_its_url_on_a_free_port_and_is_gone_after_the_block() -> None:
    async with serve(settings(demo=True)) as node:
        port = port_of(node)
        models = await get(port, "/v1/models")
        assert MODEL.encode() in models.body
    assert not is_taken(port)


async def test_a_port_in_use_is_a_configuration_error() -> None:
    async with serve(settings()) as node:
        with pytest.raises(ConfigurationError, match="Cannot listen"):
            async with serve(settings(port=port_of(node))):
                pass
        assert is_taken(port_of(node))


async def test_settings_that_no_environment_could_give_are_refused_before_anything_is_started() -> None:
    with pytest.raises(ConfigurationError, match="LLM_TIMEOUT: -1 is not valid"):
        async with serve(settings(llm_timeout=-1)):
            pytest.fail("it was started")


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="of the program"):
        async with serve(settings()) as node:
            raise KeyError("of the program")
    assert not is_taken(port_of(node))


async def test_a_part_that_fails_ends_the_block() -> None:
    async def failing(self: ModelPoller) -> None:
        raise ArithmeticError

    with mock.patch.object(ModelPoller, "run", failing), pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(ENDS_WITHIN_S), serve(settings(), is_ready=False):
            await asyncio.Event().wait()
    assert caught.value.subgroup(ArithmeticError) is not None


async def test_nothing_is_left_of_a_node_whose_block_is_cancelled_in_the_middle_of_an_answer() -> None:
    began = asyncio.Event()

    async def program(its_settings: Settings) -> None:
        async with (
            serve(its_settings) as node,
            calling(port_of(node), request(OPENAI.endpoint, OPENAI.ask())) as call,
        ):
            await call.read_head()
            began.set()
            await asyncio.Event().wait()

    async with OPENAI.fake(send(OPENAI.begun()), stall) as llm:
        before = asyncio.all_tasks()
        running = asyncio.create_task(program(before_llm(llm)))
        await began.wait()
        running.cancel()
        async with asyncio.timeout(ENDS_WITHIN_S):
            await asyncio.wait((running,))
        assert running.cancelled()
        await llm.until(lambda: llm.departures == 1)
        await until(lambda: asyncio.all_tasks() <= before, ENDS_WITHIN_S)


async def test_an_answer_under_way_may_end_when_the_block_does() -> None:
    go_on = asyncio.Event()
    rest = b"".join(map(chunk, OPENAI.frames[1:])) + LAST_CHUNK
    async with OPENAI.fake(send(OPENAI.begun()), wait_for(go_on), send(rest)) as llm:
        serving = serve(before_llm(llm))
        node = await serving.__aenter__()
        async with calling(port_of(node), request(OPENAI.endpoint, OPENAI.ask())) as call:
            await call.read_head()
            ending = asyncio.create_task(serving.__aexit__(None, None, None))
            await until(lambda: not is_taken(port_of(node)), ENDS_WITHIN_S)
            assert not ending.done()
            go_on.set()
            reply = await call.read_rest()
        await ending
    assert (reply.body, reply.is_whole) == (b"".join(OPENAI.frames), True)


@pytest.mark.parametrize("sample", [OPENAI, ANTHROPIC, OLLAMA], ids=str)
async def test_without_a_grace_it_is_cut_and_says_so_and_does_not_look_whole(sample: DialectSample) -> None:
    async with sample.fake(send(sample.begun()), stall) as llm:
        serving = serve(before_llm(llm, sample), grace_s=0.0)
        node = await serving.__aenter__()
        async with calling(port_of(node), request(sample.endpoint, sample.ask())) as call:
            await call.read_head()
            assert await call.read_chunk() == sample.first
            async with asyncio.timeout(ENDS_WITHIN_S):
                await serving.__aexit__(None, None, None)
            frame = await call.read_chunk()
            reply = await call.read_rest()
        await llm.until(lambda: llm.departures == 1)
    assert frame is not None
    assert sample.message_in_frame(frame).startswith("The node was stopped before the answer was whole.")
    assert not reply.is_whole


@pytest.mark.parametrize("sample", [OPENAI, ANTHROPIC, OLLAMA], ids=str)
async def test_of_what_has_no_answer_yet_the_caller_is_told(sample: DialectSample) -> None:
    async with sample.fake(stall) as llm:
        serving = serve(before_llm(llm, sample), grace_s=0.0)
        node = await serving.__aenter__()
        async with calling(port_of(node), request(sample.endpoint, sample.ask())) as call:
            await llm.until(lambda: len(llm.asked(sample.endpoint)) == 1)
            await serving.__aexit__(None, None, None)
            assert await call.read_head() == 503
            reply = await call.read_rest()
        await llm.until(lambda: llm.departures == 1)
    assert "Ask again in a moment." in sample.message_in(reply.body)
    assert reply.is_whole


def of_the_process() -> Mapping[str, object]:
    """What belongs to the whole process."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict))]
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
        "collector": (gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()),
        "environment": dict(os.environ),
        "logging": (structlog.get_config(), logging.root.level, [list(each.handlers) for each in loggers]),
    }


async def test_nothing_of_the_process_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("DEMO=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEMO", "1")
    monkeypatch.setenv("WEB_CONCURRENCY", "no number")  # uvicorn's, which reads it unless told otherwise
    async with serve(settings()):  # whatever is imported only now
        pass
    before = of_the_process()
    async with serve(settings()) as node:
        assert of_the_process() == before
        assert node.states() == []  # no DEMO
    assert of_the_process() == before


def on_a_network(folder: Path, **more: object) -> Settings:
    return settings(network="on", peer_host="127.0.0.1", open_network=True, masa_dir=str(folder), **more)


async def test_two_nodes_of_one_program_find_each_other_and_end_with_their_threads(tmp_path: Path) -> None:
    async with (
        serve(on_a_network(tmp_path / "first", demo=True, demo_pieces_per_s=1e6)) as first,
        serve(on_a_network(tmp_path / "second", bootnodes=first.bootnode)) as second,
    ):
        await until(lambda: bool(second.catalog.offers_of(MODEL)), 10)
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "stream": True})
        reply = await post(port_of(second), OPENAI.endpoint, body.encode())
        assert reply.header("x-masa-served-by") == first.node_id
    assert reply.is_whole
    await until(lambda: not any("masa" in thread.name for thread in threading.enumerate()), ENDS_WITHIN_S)


async def test_nodes_that_have_ended_leave_nothing_of_themselves(tmp_path: Path) -> None:
    """What the garbage collector does not see, because it is told so, must lead to no node."""

    async def run() -> None:
        async with (
            serve(on_a_network(tmp_path / "first", demo=True, demo_pieces_per_s=1e6)) as first,
            serve(on_a_network(tmp_path / "second", bootnodes=first.bootnode)) as second,
        ):
            await until(lambda: bool(second.catalog.offers_of(MODEL)), 10)
            body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]})
            for node in (first, second, second):
                assert (await post(port_of(node), OPENAI.endpoint, body.encode())).status == 200

    def left() -> int:
        gc.collect()
        return sum(isinstance(each, Node | PeerServer) for each in gc.get_objects())

    before = left()
    await run()
    await until(lambda: left() <= before, ENDS_WITHIN_S)


def test_the_public_names_are_those_of_the_documentation() -> None:
    assert sorted(masa_node.__all__) == ["Node", "Settings", "__version__", "read_settings", "serve"]
    assert all(hasattr(masa_node, name) for name in masa_node.__all__)
    assert not hasattr(masa_node, "network_of_the_past")


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import masa_node; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.replace("'", '"')) == ["masa_node", "masa_node.version"]
