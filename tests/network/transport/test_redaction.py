"""A peer reads no address of an owner's, and every other word as it was."""

import pytest

from masa_node.network.requests.errors import for_peers
from masa_node.network.transport.redaction import redact

ADDRESSES = [
    "http://192.168.1.7:11434/api/chat",
    "https://user:secret@llm.example.org/v1?key=1",
    "10.0.0.5",
    "10.0.0.5:8080",
    "127.0.0.1:1",
    "[::1]:8080",
    "[fe80::1%eth0]:80",
    "[2001:db8::7]",
    "fe80::1",
    "::1",
    "2001:db8:0:1:2:3:4:5",
    "::ffff:10.0.0.5",
    "localhost:11434",
    "localhost:81",
    "llm.example.org:443",
    "gpu.lan:9999",
    "gpu-box:8123",
    "node1:50051",
    "ollama:11434",
    "vllm:8000",
    "my.subnet.rs:443",
    "LOCALHOST:8080",
]
HARMLESS = [
    "at 12:30 on 2026-01-01T00:00:00Z",
    "01T00:00",
    "2026-01-01T00:00",
    "12:30:45.123",
    "00:00-23:59",
    "a:b:c",
    "std::deque",
    "dead::beef",
    "abc::def::f",
    "messages[0].content[12]",
    "x[1:2] and x[::2] and x[:]",
    "[0]",
    "[1.5]",
    "1.2.3",
    "v1.2.3.4",
    "version 1.2.3.4",
    "Version: 1.2.3.4",
    "1.2.3.4.5",
    "300.1.2.3",
    "ratio 16:9, 1:10",
    "llama3.1:70b is not here, nor qwen2.5:72, phi:14",
    "llama-context.cpp:1035: failed",
    "main.py:1234",
    'File "server.py":8123',
    "code:400 status:503 line:12",
    "tokens:4096, max_tokens:32768, tokens:131072",
    "error:99999",
    "n_ctx: 4096",
    "gpt-4:128k",
    "sha256:12345678",
    "key=value:12",
    "a ratio of 0.5:10",
    "ISO 8601:2004",
    "at index:12",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("around", ["{}", "dial {}: refused", "({}).", "it is at {}, or not", "'{}'", "x={}", "{}; {}"])
def test_an_address_is_taken_out_and_nothing_else(address: str, around: str) -> None:
    assert for_peers(around.replace("{}", address)) in (
        around.replace("{}", "(address)"),
        around.replace("{}", "(address)").replace("(address);", "(address)"),  # a URL ends with a space
        around.replace("{}).", "(address)"),
        around.replace("{},", "(address)"),
        around.replace("{}:", "(address)"),
        around.replace("{}'", "(address)"),
    )


@pytest.mark.parametrize("before", ["to host", "Cannot connect to host", "dial tcp", "from", "via proxy"])
def test_a_bare_name_behind_a_word_of_connections_is_a_host(before: str) -> None:
    assert for_peers(f"{before} backend:7777 ssl:default") == f"{before} (address) ssl:default"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert for_peers(text) == text


@pytest.mark.parametrize("part", ["a.", "1:", "a-", "[", "::", "1.", "to ", "a:1", "[1:", "v ", "a"])
def test_no_text_takes_long(part: str) -> None:
    """A hundred times what is looked at: with each character looked at once for each other one it never ends."""
    redact(part * (200_000 // len(part)))
