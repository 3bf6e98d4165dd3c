"""Takes addresses out of words that a peer gets to read, and nothing else. Pure.

What looks like one mostly is none: `12:30`, `messages[0]`, `server.cpp:1035`, `tokens:4096`, `qwen2.5:72`. So every
candidate is judged: IP addresses as the library reads them, a host with its port by whether a host can be called so.
"""

import ipaddress
import re

REDACTED = "(address)"
# Where servers, proxies and LLM servers listen as documented: such a number behind any word is a port.
_SERVICE_PORTS = frozenset(
    {80, 443, 1234, 1337, 3000, 3128, 4000, 5000, 5001, 7860, 8000, 8001, 8080, 8081, 8443, 8888, 9000, 11434, 30000}
)
_WEB_PORTS = frozenset({80, 443, 8080, 8443})  # of which a file of a program seldom has the line
_FIRST_FREE_PORT = 1024  # below it are the system's
_LAST_PORT = 65_535
# Ends of names of files, behind which is a line: some are domains too.
_FILES = frozenset(
    {
        *("c", "cc", "cpp", "cs", "cu", "cuh", "cxx", "gguf", "go", "h", "hpp", "html", "ipynb", "java", "jinja", "js"),
        *("json", "jsx", "kt", "lua", "m", "md", "mjs", "mm", "php", "pl", "py", "pyi", "pyx", "rb", "rs", "scala"),
        *("safetensors", "sh", "so", "swift", "toml", "ts", "tsx", "txt", "yaml", "yml"),
    }
)
_CANDIDATE = re.compile(
    r"(?P<url>[a-z][a-z0-9+.-]{0,20}://\S+)"
    r"|(?<!\w)\[(?P<bracketed>[0-9a-f:.]+(?:%[\w.-]+)?)\](?P<after>:\d{1,5}\b)?"
    r"|(?<![\w.:])(?<!\w\[)(?P<ipv6>(?=[0-9a-f]*:[0-9a-f:.]*:)[0-9a-f:.]*[0-9a-f](?:%\w+)?)(?!\w|:\w)"
    r"|(?<![\w.-])(?P<version>v(?:ersion|er\.?)?[ :=]+)?(?P<ipv4>\d{1,3}(?:\.\d{1,3}){3})(?![\w-]|\.\d)(?::\d{1,5}\b)?"
    r"|(?:\b(?P<before>host|tcp|tcp4|tcp6|udp|to|from|via|server|proxy|address|addr|peer)[ =]+)?"
    r"(?<![\w.:/@-])(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?):(?P<port>\d{2,5})(?!\w|:\w|\.\d)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text with `(address)` for each URL, IP address, and host with a port."""
    return _CANDIDATE.sub(_judge, text)


def _judge(match: re.Match[str]) -> str:
    """What stands there instead of a candidate; words before an address stay."""
    for kind in ("bracketed", "ipv6"):
        if match[kind] is not None:
            return REDACTED if _is_ipv6(match[kind]) else match[0]
    if match["ipv4"] is not None:
        return REDACTED if match["version"] is None and _is_ip(match["ipv4"]) else match[0]
    if match["host"] is not None:
        prefix = match[0][: match.start("host") - match.start()]
        return prefix + REDACTED if _is_host(match["host"], int(match["port"]), match["before"]) else match[0]
    return REDACTED


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    """With a digit: `dead::beef` may be the name of something in a program."""
    return _is_ip(text) and any(char.isdigit() for char in text)


def _is_host(name: str, port: int, before: str | None) -> bool:
    labels = name.lower().split(".")
    if not 0 < port <= _LAST_PORT or not labels[-1][:1].isalpha() or "" in labels:
        return False
    if len(labels) > 1 and labels[-1] in _FILES:
        return port in _WEB_PORTS
    if len(labels) > 1 or port in _SERVICE_PORTS or labels[-1] == "localhost":
        return True
    is_usual = port >= _FIRST_FREE_PORT
    return is_usual and (before is not None or any(not char.isalpha() for char in name))
