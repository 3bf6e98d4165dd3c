"""The recipe "a kind of LLM server": one file in `upstreams/servers/`, one row in `SERVER_KINDS`."""

import json
from pathlib import Path

import pytest

from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint, Headers
from masa_node.upstreams.access import Access
from masa_node.upstreams.detection import SERVER_KINDS, ServerKind
from masa_node.upstreams.servers.server import Server
from masa_node.upstreams.spec import UpstreamSpec
from tests.fakes.dialect_samples import OPENAI
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, send
from tests.fakes.raw_http import get, post
from tests.fakes.running import running_node


class ToyServer(Server):
    """Speaks OpenAI's chat at a path of its own, has a header of its own for the key, and one model."""

    label = "Toy"
    native = Endpoint.OPENAI_CHAT

    def __init__(self, spec: UpstreamSpec) -> None:
        super().__init__(spec.url.rstrip("/"), spec.key, {Endpoint.NATIVE: "/talk", Endpoint.OPENAI_CHAT: "/talk"})

    def target(self, endpoint: Endpoint, model: str) -> str | None:
        return f"{self.base}/toys/{model}/talk" if endpoint in self.paths else None

    def credentials(self, endpoint: Endpoint | None = None) -> Headers:
        del endpoint
        return (("x-toy-key", self.key),)

    def probe_url(self) -> None:
        return None

    async def list_models(self, http: Access) -> list[ModelOffer]:
        return [ModelOffer("bear", self.endpoints())]


@pytest.fixture(autouse=True)
def with_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SERVER_KINDS, "toy", ServerKind(ToyServer, is_hosted=True))


def toml(folder: Path, url: str) -> str:
    (folder / "masa.toml").write_text(f'[[upstream]]\nname = "box"\nkind = "toy"\nurl = "{url}"\nkey = "k"\n')
    return str(folder / "masa.toml")


async def test_a_kind_is_named_in_masa_toml_listed_and_asked(tmp_path: Path) -> None:
    async with (
        FakeLlm().answer("/toys/bear/talk", (send(OPENAI.whole),)) as llm,
        running_node(MASA_CONFIG=toml(tmp_path, llm.url)) as node,
    ):
        listing = json.loads((await get(node.port, "/v1/models")).body)
        reply = await post(node.port, "/v1/chat/completions", b'{"model":"bear","messages":[]}')
        other = await post(node.port, "/v1/messages", b'{"model":"bear","messages":[],"max_tokens":9}')
    assert [model["id"] for model in listing["data"]] == ["bear"]
    assert (reply.status, reply.body) == (200, OPENAI.answer)
    assert other.status == 200, "translated, as for every server that speaks OpenAI's chat"
    assert [got.header("x-toy-key") for got in llm.asked("/toys/bear/talk")] == [["k"], ["k"]]


async def test_what_a_server_answers_is_judged_as_any_others(tmp_path: Path) -> None:
    async with (
        FakeLlm().answer("/toys/bear/talk", (send(whole(b"<html>")),)) as llm,
        running_node(MASA_CONFIG=toml(tmp_path, llm.url)) as node,
    ):
        reply = await post(node.port, "/v1/chat/completions", b'{"model":"bear","messages":[]}')
    assert reply.status == 502
    assert f"box ({llm.url})".encode() in reply.body
