"""How a server is described: what cannot work is said at the start, by the setting's name and without the key."""

from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.upstreams import upstream_specs
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec, check_spec
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, send
from tests.fakes.running import running_node, settings_of

KEY = "sk-sécret"

GOOD_URLS = [
    "http://localhost:11434",
    "https://api.example.com/v1/",
    "http://[::1]:8080",
    "http://10.0.0.1",
    "http://gpu_box:1/a%20b",
    "http://bücher.example/v1",
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_url_that_can_be_asked_is_taken_as_it_is(url: str) -> None:
    spec = UpstreamSpec("x", UpstreamKind.AUTO, url)
    assert check_spec(spec, "LLM_CHAT_URL") is spec
    HttpClient().target_of(f"{url.rstrip('/')}/v1/models")


BAD_URLS = [
    "",
    "//localhost",
    "ftp://localhost",
    "file:///etc/passwd",
    "http://",
    "http://:80",
    "http://[::1",
    "http://localhost:99999",
    "http://localhost:0",
    "http://localhost:port",
    "http://localhost#x",
    "http://localhost/ü",
    "http://localhost/a b",
    "http://localhost/a\r\nx: y",
    "http://local\nhost/",
    "http://local host/",
    "http://ü..example/",
    "http://a..example/",
    f"http://{'a' * 64}.example/",
    f"http://{'ü' * 70}.example/",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_cannot_be_asked_is_refused_by_its_settings_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_BASE_URL") as caught:
        check_spec(UpstreamSpec("x", UpstreamKind.AUTO, url, "sk-secret"), "OPENAI_BASE_URL")
    assert "sk-secret" not in caught.value.message


@pytest.mark.parametrize("api_url", ["api.cloudflare.com", "ftp://x", "http://x/ü", "http://x/?y"])
def test_a_url_of_the_list_that_cannot_be_asked_is_refused(api_url: str) -> None:
    settings = settings_of(LLM_CF_URL="https://example.com/run", LLM_CF_TOKEN="t", LLM_CF_API_URL=api_url)
    with pytest.raises(ConfigurationError, match=r"LLM_CF.*URL"):
        upstream_specs(settings)


@pytest.mark.parametrize("key", [KEY, "sk-“quoted”", "a\nb", "a\r\nx: y", "a\0b", "a\tb"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="key") as caught:
        check_spec(UpstreamSpec("x", UpstreamKind.AUTO, "http://localhost", key), "LLM_CHAT_URL")
    assert key not in caught.value.message


def test_a_key_from_a_file_may_end_with_a_line_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "sk-1\n")
    file = tmp_path / "masa.toml"
    file.write_text('[[upstream]]\nname = "x"\nurl = "http://localhost"\nkey_env = "THE_KEY"')
    (spec,) = upstream_specs(settings_of(MASA_CONFIG=str(file)))
    assert spec.key == "sk-1"


@pytest.mark.parametrize("name", ["", "A", "a b", "a\nb", "-a", "x" * 33, "ü"])
def test_a_name_that_cannot_stand_everywhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        check_spec(UpstreamSpec(name, UpstreamKind.AUTO, "http://localhost"), "masa.toml")


def test_the_key_is_not_in_the_representation() -> None:
    assert "sk-secret" not in repr(UpstreamSpec("x", UpstreamKind.AUTO, "http://localhost", "sk-secret"))
    assert "sk-secret" not in str([UpstreamSpec("x", UpstreamKind.AUTO, "http://localhost", "sk-secret")])


async def test_a_host_name_with_an_umlaut_is_asked_for_in_ascii() -> None:
    async with FakeLlm().answer("/v1/models", (send(whole(b'{"data":[]}')),)) as llm, HttpClient() as http:
        target = http.target_of(f"http://bücher.example:{llm.port}/v1/models")
        assert target.host_line == f"host: xn--bcher-kva.example:{llm.port}\r\n".encode()


async def test_a_node_does_not_start_with_a_server_that_cannot_be_asked() -> None:
    with pytest.raises(ConfigurationError, match="LLM_CHAT_URL"):
        async with running_node(LLM_CHAT_URL="http://localhost/ü"):
            pass
