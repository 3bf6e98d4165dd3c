"""Which proxy a server is reached through: HTTPS_PROXY and its kin mean here what they mean elsewhere."""

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.upstreams.http.proxies import PROXY_NAMES, Proxies, Proxy, proxy_settings


def proxy_of(url: str, **settings: str) -> Proxy | None:
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":") if rest.rpartition(":")[2].isdigit() else (rest, "", "")
    return Proxies(settings).proxy_for(scheme, host.strip("[]"), int(port or {"http": 80, "https": 443}[scheme]))


def host_of(url: str, **settings: str) -> str | None:
    proxy = proxy_of(url, **settings)
    return proxy.host if proxy is not None else None


# ---- which one ----


def test_each_scheme_has_its_own_proxy_and_all_proxy_is_for_those_without() -> None:
    settings = {"HTTPS_PROXY": "http://one:1", "ALL_PROXY": "http://two:2"}
    assert host_of("https://api.openai.com", **settings) == "one"
    assert host_of("http://gpu-box:11434", **settings) == "two"
    assert host_of("http://gpu-box:11434", HTTPS_PROXY="http://one:1") is None
    assert host_of("https://api.openai.com", HTTP_PROXY="http://one:1") is None
    assert host_of("https://api.openai.com") is None


def test_in_lower_case_a_name_wins_unless_it_is_empty() -> None:
    environ = {"HTTPS_PROXY": "upper", "https_proxy": "lower", "http_proxy": "", "HTTP_PROXY": "upper", "no_proxy": " "}
    assert proxy_settings(environ) == {"HTTPS_PROXY": "lower", "HTTP_PROXY": "upper", "NO_PROXY": ""}
    assert proxy_settings(dict.fromkeys(PROXY_NAMES, "")) == dict.fromkeys(PROXY_NAMES, "")


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy:3128", Proxy("ALL_PROXY", "proxy", 3128)),
        ("http://proxy:3128/", Proxy("ALL_PROXY", "proxy", 3128)),
        ("proxy:3128", Proxy("ALL_PROXY", "proxy", 3128)),
        ("HTTP://Proxy", Proxy("ALL_PROXY", "proxy", 80)),
        ("10.0.0.1:8080", Proxy("ALL_PROXY", "10.0.0.1", 8080)),
        ("http://[fd00::1]:3128", Proxy("ALL_PROXY", "fd00::1", 3128)),
        ("http://me:pw@proxy:3128", Proxy("ALL_PROXY", "proxy", 3128, "Basic bWU6cHc=")),
        ("me:pw@proxy:3128", Proxy("ALL_PROXY", "proxy", 3128, "Basic bWU6cHc=")),
        ("http://me%40home:p%3A%2Fw@proxy:3128", Proxy("ALL_PROXY", "proxy", 3128, "Basic bWVAaG9tZTpwOi93")),
        ("http://token@proxy", Proxy("ALL_PROXY", "proxy", 80, "Basic dG9rZW46")),
    ],
)
def test_a_proxy_is_read_as_people_write_it(text: str, proxy: Proxy) -> None:
    assert proxy_of("https://api.openai.com", ALL_PROXY=text) == proxy


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "::"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_never_reached_through_a_proxy(scheme: str, host: str) -> None:
    assert Proxies({"ALL_PROXY": "http://proxy:1"}).proxy_for(scheme, host, 8000) is None


# ---- NO_PROXY ----


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("*", "https://api.openai.com"),
        ("example.com, *", "https://api.openai.com"),
        ("openai.com", "https://openai.com"),
        ("openai.com", "https://api.openai.com"),
        (".openai.com", "https://api.openai.com"),
        (".openai.com", "https://openai.com"),
        ("*.openai.com", "https://api.openai.com"),
        ("OpenAI.com.", "https://API.openai.com"),
        ("example.com,api.openai.com", "https://api.openai.com."),
        (" example.com , openai.com ", "https://api.openai.com"),
        ("example.com openai.com", "https://api.openai.com"),
        ("gpu-box", "http://gpu-box:11434"),
        ("gpu-box:11434", "http://gpu-box:11434"),
        ("openai.com:443", "https://api.openai.com"),
        ("10.0.0.5", "http://10.0.0.5:8000"),
        ("10.0.0.5:8000", "http://10.0.0.5:8000"),
        ("10.0.0.0/8", "http://10.1.2.3:8000"),
        ("10.1.2.3/8", "http://10.9.9.9"),
        ("fd00::/8", "http://[fd00::5]:8000"),
        ("fd00::5", "http://[fd00::5]:8000"),
        ("[fd00::5]", "http://[fd00::5]:8000"),
        ("[fd00::5]:8000", "http://[fd00::5]:8000"),
        ("bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_no_proxy_names_what_is_reached_without(entries: str, url: str) -> None:
    assert proxy_of(url, ALL_PROXY="http://proxy:1", NO_PROXY=entries) is None


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("", "https://api.openai.com"),
        (" , ,. *.", "https://api.openai.com"),
        ("openai.com", "https://notopenai.com"),
        (".openai.com", "https://notopenai.com"),
        ("api.openai.com", "https://openai.com"),
        ("openai.com", "https://openai.com.example"),
        ("openai.com:8443", "https://api.openai.com"),
        ("gpu-box:8000", "http://gpu-box:11434"),
        ("0.0.5", "http://10.0.0.5:8000"),
        ("10.0.0.5", "http://10.0.0.50:8000"),
        ("10.0.0.0/24", "http://10.0.1.1:8000"),
        ("10.0.0.0/8", "https://api.openai.com"),
        ("10.0.0.0/99", "http://10.0.0.1:8000"),
        ("fd00::/8", "http://10.0.0.1"),
    ],
)
def test_no_proxy_names_nothing_else(entries: str, url: str) -> None:
    assert host_of(url, ALL_PROXY="http://proxy:1", NO_PROXY=entries) == "proxy"


# ---- what cannot be used ----

BAD = [
    "socks5://me:hunter2@proxy:1080",
    "socks5h://proxy:1080",
    "https://me:hunter2@proxy:3128",
    "ftp://me:hunter2@proxy",
    "http://",
    "http://me:hunter2@",
    "http://me:hunter2@proxy:http",
    "http://me:hunter2@proxy:0",
    "http://me:hunter2@proxy:99999",
    "http://me:hunter2/@proxy:3128",
    "http://me:1234#hunter2@proxy:3128",
    "http://me:1234?hunter2@proxy:3128",
    "http://me:hunter2@pro xy:3128",
    "http://me:hunter2@proxy:3128/proxy.pac",
    "http://[hunter2",
]


@pytest.mark.parametrize("text", BAD)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(text: str) -> None:
    proxies = Proxies({"HTTPS_PROXY": text})
    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY") as caught:
        proxies.check(["http://gpu-box:11434", "https://api.openai.com/v1"])
    assert "hunter2" not in caught.value.message
    assert caught.value.__cause__ is None
    assert "http://" in caught.value.message


@pytest.mark.parametrize("text", BAD)
def test_a_proxy_that_nothing_would_use_may_be_any(text: str) -> None:
    urls = ["", "http://[", "/models/some.gguf", "http://gpu-box:11434", "https://localhost:1", "https://a.example.org"]
    Proxies({"HTTPS_PROXY": text, "NO_PROXY": "example.org"}).check(urls)


def test_a_proxy_shows_itself_without_user_and_password() -> None:
    proxy = proxy_of("https://a.example", HTTPS_PROXY="http://me:hunter2@proxy:3128")
    assert proxy is not None
    assert proxy.named == "the proxy http://proxy:3128 (HTTPS_PROXY)"
    assert "Basic" not in repr(proxy)
