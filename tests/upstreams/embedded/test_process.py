"""The process of an embedded LLM: a real llama.cpp with a tiny model whose answer never ends.

Covers: `program`.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from masa_node.chat.answer import StreamedAnswer
from masa_node.chat.request import Endpoint, Request, RequestId
from masa_node.routing.answers.reader import read_whole
from masa_node.upstreams.embedded.model import runtime_is_installed
from masa_node.upstreams.embedded.process import EmbeddedProcess
from masa_node.upstreams.embedded.program import SLOTS, EmbeddedModel
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from masa_node.upstreams.upstream import Upstream
from tests.lacking import lacking
from tools.make_chain_gguf import Shape, looping, write_model

KEY = "k-of-this-start"
BODY = b'{"model": "tiny", "stream": true, "messages": [{"role": "user", "content": "hello"}]}'
REQUEST = Request(RequestId("r"), Endpoint.OPENAI_CHAT, "tiny", wants_stream=True, body=BODY, headers=(),
          first_piece_deadline_s=1e12, idle_timeout_s=30.0)  # fmt: skip


class Slot(msgspec.Struct):
    is_processing: bool


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not runtime_is_installed():
        lacking("no wheel of xllamacpp is installed")
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_model(path, looping([" la"]), Shape("tiny", context=4096))
    return path


def options(path: Path) -> EmbeddedModel:
    return EmbeddedModel(str(path), "tiny", KEY, context_tokens=4096, threads=1)


@pytest_asyncio.fixture
async def process(model: Path) -> AsyncIterator[EmbeddedProcess]:
    process = await EmbeddedProcess.start(options(model))
    try:
        yield process
    finally:
        await process.end()


async def busy_slots(http: HttpClient, url: str) -> int:
    answer = await http.get(f"{url}/slots", (("Authorization", f"Bearer {KEY}"),))
    slots = msgspec.json.decode(await read_whole(answer, 1024 * 1024), type=list[Slot])
    assert len(slots) == SLOTS
    return sum(slot.is_processing for slot in slots)


async def test_a_caller_who_goes_away_frees_the_slot(process: EmbeddedProcess) -> None:
    url = await process.loaded()
    assert url.startswith("http://127.0.0.1:")
    async with HttpClient() as http:
        upstream = Upstream(UpstreamSpec("embedded", UpstreamKind.OPENAI, url, KEY), http)
        answer = await upstream.answer(REQUEST)
        assert isinstance(answer, StreamedAnswer)
        assert b"la" in b"".join([answer.first, *[await answer.next_piece() for _ in range(5)]])
        assert await busy_slots(http, url) == 1
        answer.close()
        while await busy_slots(http, url):  # each look is a request to the server
            pass


async def test_one_that_is_killed_says_by_which_signal(process: EmbeddedProcess) -> None:
    await process.loaded()
    os.kill(process._transport.get_pid(), signal.SIGKILL)
    assert await process.ended() == "it was ended by signal 9"


async def test_one_that_is_killed_while_it_loads_was_never_loaded(process: EmbeddedProcess) -> None:
    os.kill(process._transport.get_pid(), signal.SIGKILL)
    assert await process.loaded() == ""
    assert await process.ended() == "it was ended by signal 9"


async def test_ending_it_waits_until_it_is_gone_and_may_be_done_twice(process: EmbeddedProcess) -> None:
    await process.loaded()
    await process.end()
    await process.end()
    with pytest.raises(ProcessLookupError):
        os.kill(process._transport.get_pid(), 0)


@pytest.mark.usefixtures("model")
async def test_a_model_that_cannot_be_loaded_is_told_in_llama_cpps_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00\x00\x00")
    process = await EmbeddedProcess.start(options(broken))
    assert await process.loaded() == ""
    why = await process.ended()
    assert why.startswith("it ended with exit code 1 (")
    assert "failed to" in why


async def test_what_llama_cpp_lacks_is_told_in_pythons_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    why = "ImportError: libgomp.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "xllamacpp.py").write_text(f"raise ImportError({why.removeprefix('ImportError: ')!r})")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3] / 'src'}")
    process = await EmbeddedProcess.start(options(tmp_path / "any.gguf"))
    assert await process.ended() == f"it ended with exit code 1 ({why})"


async def test_one_that_has_ended_at_once_is_told_nothing_and_disturbs_nobody() -> None:
    _, child = await asyncio.get_running_loop().subprocess_exec(EmbeddedProcess, "true")
    await child.ended()
    child.tell(b"{}\n")
    assert await child.loaded() == ""
