"""What an owner may write into ALLOWED_ORIGINS and ALLOWED_HOSTS works as meant, or is refused in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.api.guard import Guard, GuardRules
from masa_node.api.origins import fits_host, host_rule, origin_rule, read_origin
from masa_node.chat.errors import ConfigurationError, HostRefused, OriginRefused

EXTENSION = "abcdefghijklmnopabcdefghijklmnop"


def fits(entry: str, origin: str) -> bool:
    read = read_origin(origin)
    return read is not None and origin_rule(entry).fits(read)


def may_come(origin: str, host: str, **rules: tuple[str, ...]) -> bool:
    guard = Guard(GuardRules(**rules))
    try:
        guard.check_host_and_origin([(b"host", host.encode()), (b"origin", origin.encode())])
    except OriginRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("https://chat.example.org", "https://chat.example.org"),
        ("https://chat.example.org/", "https://chat.example.org"),
        ("HTTPS://Chat.Example.ORG", "https://chat.example.org"),
        ("https://chat.example.org.", "https://chat.example.org"),
        ("https://chat.example.org:443", "https://chat.example.org"),
        ("http://chat.example.org:80", "http://chat.example.org"),
        ("http://chat.example.org:443", "http://chat.example.org:443"),
        ("https://chat.example.org:08443", "https://chat.example.org:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://[FD00:0:0::1]:3000", "http://[fd00::1]:3000"),
        ("https://*.example.org", "https://a.b.example.org"),
        ("http://192.168.1.5:*", "http://192.168.1.5:3000"),
        ("https://*.example.org:*", "https://a.example.org:3000"),
        ("chrome-extension://*", f"chrome-extension://{EXTENSION}"),
        ("moz-extension://*", "moz-extension://0b5b0c4e-1111-4222-8333-944445555566"),
        ("safari-web-extension://*/", "safari-web-extension://0B5B0C4E-1111-4222-8333-944445555566"),
        (f"chrome-extension://{EXTENSION}/", f"chrome-extension://{EXTENSION}"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_what_people_write_means_what_browsers_send(entry: str, origin: str) -> None:
    assert fits(entry, origin)


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("https://*.example.org", "https://example.org"),
        ("https://*.example.org", "https://evil-example.org"),
        ("https://*.example.org", "https://a.example.org.evil.example"),
        ("https://*.example.org", "http://a.example.org"),
        ("https://*.example.org", "https://a.example.org:8443"),
        ("chrome-extension://*", "moz-extension://x"),
        ("chrome-extension://*", "https://x"),
        ("chrome-extension://*", "null"),
        ("http://chat.example.org:*", "https://chat.example.org"),
        ("https://chat.example.org", "https://chat.example.org:99999"),
    ],
)
def test_a_star_means_no_more_than_it_says(entry: str, origin: str) -> None:
    assert not fits(entry, origin)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("*", "every web page"),
        ("https://*", "every web page"),
        ("http://*:*", "every web page"),
        ("https://*.org", "too many"),
        ("https://*.1.2.3.4", "too many"),
        ("https://chat.*.org", "a star"),
        ("https://chat*", "a star"),
        ("http://192.168.1.*", "a star"),
        ("null", "null"),
        ("file://", "null"),
        ("file:///home/me/page.html", "null"),
        ("chat.example.org", "scheme"),
        ("localhost:3000", "scheme"),
        ("//chat.example.org", "scheme"),
        ("https://chat.example.org/app", "path"),
        ("https://chat.example.org/*", "path"),
        ("chrome-extension://*/*", "path"),
        ("https://chat.example.org?x", "path"),
        ("https://", "no host"),
        ("https://me@chat.example.org", "no host can have"),
        ("https://chat.example.org:http", "port"),
        ("https://chat.example.org:65536", "port"),
        ("https://[::1", "no host"),
        ("https://[localhost]", "brackets"),
        ("https://chat example", "no host can have"),
        ("https://" + "ü" * 80, "DNS"),
    ],
)
def test_an_origin_that_could_never_match_or_matches_all_is_refused_in_words(entry: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Guard(GuardRules(allowed_origins=("https://fine.example.org", entry)))
    assert refused.value.message.startswith(f"ALLOWED_ORIGINS: {entry!r} ")
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("node.example.org", "node.example.org"),
        ("Node.Example.ORG", "node.example.org"),
        ("node.example.org.", "node.example.org"),
        ("node.example.org:8080", "node.example.org"),
        ("*.example.org", "a.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("nas", "nas"),
        ("::1", "[::1]"),
        ("[FD00::1]:8080", "[fd00::1]"),
        ("192.168.1.5", "192.168.1.5"),
    ],
)
def test_a_host_is_read_as_people_write_it(entry: str, host: str) -> None:
    assert fits_host(host_rule(entry), host)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("*", "DNS rebinding"),
        ("https://node.example.org", "more than a host name"),
        ("node.example.org/", "more than a host name"),
        ("0.0.0.0", "any page"),  # noqa: S104 - not bound
        ("[::]", "any page"),
        ("*.org", "too many"),
        ("no*de", "a star"),
        ("node example", "no host can have"),
        ("node:http", "not a host name"),
        (":8080", "not a host name"),
    ],
)
def test_a_host_that_could_never_match_or_matches_all_is_refused_in_words(entry: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Guard(GuardRules(allowed_hosts=(entry,)))
    assert refused.value.message.startswith(f"ALLOWED_HOSTS: {entry!r} ")
    assert says in refused.value.message


@pytest.mark.parametrize("key", ["with\ttab", "with\x7f", "Bearer secret"])
def test_a_key_that_no_caller_could_send_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Guard(GuardRules(api_keys=("fine", key)))
    assert refused.value.message.startswith("API_KEY: ")
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://192.168.1.5:8080", "192.168.1.5:8080"),
        ("http://192.168.1.5", "192.168.1.5"),
        ("http://192.168.1.5", "192.168.1.5:80"),
        ("https://node.example.org", "node.example.org"),
        ("https://node.example.org", "node.example.org:443"),
        ("http://node.example.org:9000", "Node.Example.org:9000"),
        ("http://[fd00::1]:8080", "[fd00::1]:8080"),
        ("http://[fd00::1]:8080", "[FD00:0::1]:8080"),
    ],
)
def test_a_page_of_the_nodes_own_origin_may_use_it(origin: str, host: str) -> None:
    assert may_come(origin, host, allowed_hosts=("node.example.org",))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://192.168.1.5:9090", "192.168.1.5:8080"),
        ("http://192.168.1.6:8080", "192.168.1.5:8080"),
        ("http://192.168.1.5:443", "192.168.1.5"),
        ("http://a.node.example.org", "node.example.org"),
        ("chrome-extension://node.example.org", "node.example.org"),
        ("null", "192.168.1.5:8080"),
    ],
)
def test_a_page_of_another_port_or_host_of_the_node_may_not(origin: str, host: str) -> None:
    assert not may_come(origin, host, allowed_hosts=("node.example.org",))


def test_a_foreign_name_that_leads_here_is_not_the_nodes_own() -> None:
    """DNS rebinding: Host and Origin are equal then, too."""
    with pytest.raises(HostRefused):
        may_come("http://evil.example:8080", "evil.example:8080")


@given(st.text(max_size=60))
def test_any_text_is_either_a_rule_or_refused(text: str) -> None:
    for read in (origin_rule, host_rule):
        try:
            read(text)
        except ConfigurationError as refused:
            assert refused.message.startswith("ALLOWED_")  # noqa: PT017 - either is fine
