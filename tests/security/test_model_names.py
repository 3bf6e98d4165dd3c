"""A model's name is opaque text: never a path, a URL, a line of a header or of a log.

LocalAI CVE-2024-5182, -6095, -2029; `@cf/../..` in Cloudflare's URL.
"""

import json
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from tests.api.raw_http import CHAT, ask_once, chat, get, post
from tests.api.recording_server import RecordingServer, response
from tests.api.serving import ServingNode

RUN = "/accounts/a/ai/run"
NAMES = [
    "@cf/../../../../other/ai/run/x",
    "../../../etc/passwd",
    "@cf/meta/llama?x=1",
    "@cf/meta/llama#x",
    "@cf/meta/llama;x",
    "@cf/meta/llama%2f..%2f..",
    "@cf/meta/llama%0d%0aX-Evil: 1",
    "//evil.example/x",
    "http://evil.example/x",
    "x@evil.example",
    "x:y@evil.example:80",
    "a b",
    "\\..\\..",
    "$(id)`id`;id|id&id",
    "{{7*7}}${7*7}#{7*7}<%= 7*7 %>",
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "%s%n%x",
    "模型",
    "é",
    "🦙",
    "con",
    "-rf",
    "a" * 256,
]
REFUSED = [
    "a\r\nX-Evil: 1",
    "a\nb",
    "a\tb",
    "a\0b",
    "a\x1b[31mb",
    "a\x7fb",
    "a\u2028b",
    "a\u202eb",
    "",
    "a" * 257,
    "a" * 1_000_000,
]
NOT_TEXT: list[object] = [None, 1, 1.5, True, [], {}, ["m"], {"m": 1}]


@pytest.fixture(scope="module")
def cloudflare() -> Iterator[RecordingServer]:
    """Workers AI that lists nothing, so that any name is asked of it."""
    with RecordingServer(lambda _: response(200, {"result": {"response": "hi"}, "success": True})) as canary:
        yield canary


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory, cloudflare: RecordingServer) -> Iterator[ServingNode]:
    """A node in front of it."""
    settings = {"DEMO": "", "LLM_CF_URL": f"{cloudflare.url}{RUN}", "LLM_CF_TOKEN": "t"}
    toml = tmp_path_factory.mktemp("hosted") / "masa.toml"
    toml.write_text(
        f'[[upstream]]\nname = "cf"\nkind = "cloudflare"\nurl = "{cloudflare.url}{RUN}"\n'
        f"models = {json.dumps(['.', '..', *NAMES], ensure_ascii=False)}\n",
        encoding="utf-8",
    )
    del settings["LLM_CF_URL"], settings["LLM_CF_TOKEN"]
    with ServingNode(toml.parent, settings) as running:
        yield running


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_stays_one_part_of_the_upstreams_path(
    hosted: ServingNode, cloudflare: RecordingServer, name: str
) -> None:
    cloudflare.forget()
    reply = await ask_once(hosted.port, post(chat(name), target=b"/api/v1/chat"))
    assert reply.status == 200
    (request,) = cloudflare.chats()
    line = request.partition(b"\r\n")[0].decode("ascii")
    method, target, version = line.split(" ")
    assert (method, version) == ("POST", "HTTP/1.1")
    part = target.removeprefix(f"{RUN}/")
    assert not set(part) & set("/?#\\ ")
    assert unquote(part) == name
    assert b"\r\nx-evil" not in request.lower()


@pytest.mark.parametrize("name", [".", ".."])
async def test_a_name_is_no_step_in_the_upstreams_path(
    hosted: ServingNode, cloudflare: RecordingServer, name: str
) -> None:
    cloudflare.forget()
    await ask_once(hosted.port, post(chat(name), target=b"/api/v1/chat"))
    assert not cloudflare.chats()


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_stays_one_value_of_a_header(hosted: ServingNode, name: str) -> None:
    reply = await ask_once(hosted.port, post(chat(name), target=b"/api/v1/chat"))
    assert unquote(str(reply.header("x-masa-model"))) == name
    assert reply.header("x-evil") is None


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("endpoint", [CHAT, b"/api/v1/chat", b"/v1/messages", b"/api/chat", b"/api/show"])
async def test_an_unusable_name_is_400_and_asked_of_nobody(
    hosted: ServingNode, cloudflare: RecordingServer, name: str, endpoint: bytes
) -> None:
    cloudflare.forget()
    reply = await ask_once(hosted.port, post(chat(name), target=endpoint))
    assert reply.status == 400
    assert reply.header("x-evil") is None
    assert len(reply.body) < 1000
    assert not cloudflare.chats()


async def test_half_a_character_makes_it_no_other_model(hosted: ServingNode, cloudflare: RecordingServer) -> None:
    """It is read as U+FFFD, and so is no way to be asked for one model and to ask for another."""
    cloudflare.forget()
    for name in ("con\ud800", "\udfffcon", "c\ud800on"):
        await ask_once(hosted.port, post(chat(name), target=b"/api/v1/chat"))
    asked = [unquote(raw.split(b" ")[1].decode().removeprefix(f"{RUN}/")) for raw in cloudflare.chats()]
    assert set(asked) <= {"con\ufffd", "\ufffdcon", "c\ufffdon"}


@pytest.mark.parametrize("name", NOT_TEXT)
async def test_a_name_that_is_no_text_is_400(hosted: ServingNode, cloudflare: RecordingServer, name: object) -> None:
    cloudflare.forget()
    assert (await ask_once(hosted.port, post(json.dumps({"model": name}).encode()))).status == 400
    assert not cloudflare.chats()


async def test_two_names_are_refused(hosted: ServingNode, cloudflare: RecordingServer) -> None:
    """A filter in front may read the first, and a server the last: such a request goes to nobody."""
    cloudflare.forget()
    reply = await ask_once(hosted.port, post(b'{"model": "con", "model": "x@evil.example"}', target=b"/api/v1/chat"))
    assert (reply.status, cloudflare.chats()) == (400, [])


@pytest.mark.parametrize(
    "path",
    [
        b"..",
        b"../../etc/passwd",
        b"%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        b"x%0d%0aX-Evil:%201",
        b"x%00",
        b"%ff%fe",
        b"%25252e",
        b"a" * 300,
        b"a" * 60_000,
        b"%F0%9F%A6%99" * 100,
    ],
)
async def test_a_name_in_a_path_is_as_harmless(hosted: ServingNode, path: bytes) -> None:
    reply = await ask_once(hosted.port, get(b"/v1/models/" + path))
    assert reply.status in (400, 404)
    assert reply.header("x-evil") is None
    assert len(reply.body) < 2000
