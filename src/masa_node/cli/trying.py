"""Commands to try that work when they are pasted: the address that others reach, and where the key is."""

import json
import os
import re
import shlex
import socket
from pathlib import Path

from masa_node.chat.request import ENDPOINT_PATHS, Endpoint
from masa_node.node.node import Node
from masa_node.node.settings.words import listed
from masa_node.routing.catalog import Offers

_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - what is bound, not what is
# Documentation addresses (RFC 5737, RFC 3849): no packet is sent, the system only says which own address it would use.
_SOMEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_CHATS = (Endpoint.OPENAI_CHAT, Endpoint.ANTHROPIC_MESSAGES, Endpoint.OLLAMA_CHAT)
_MORE = "  "  # by which the lines that go on are indented
_GOES_ON = " \\"
_SHELL_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\\.|[^\s'"])+""")
_FIELD_OF_BODY = re.compile(r"""(?<=,) (?="(?:max_tokens|messages|stream)": )""")
_MESSAGES = [{"role": "user", "content": "Hello"}]


def address_for_others(node: Node, address: str) -> str:
    """The URL under which other machines reach the node, where it listens on all addresses; else `address`."""
    if node.settings.host.strip("[]") not in _UNSPECIFIED:
        return address
    port = address.rpartition(":")[2]
    own = _own_address(is_ipv4_only=":" not in node.settings.host)
    return f"http://{own}:{port}" if own else address


def commands(node: Node, address: str, offers: Offers) -> list[str]:
    """A list of the models, and a chat with the first that can be had in a common format."""
    key = key_option(node)
    lines = [f"curl {key}{address}/api/v1/llm/models"]
    for endpoint in _CHATS:
        for _, offer in offers:
            if endpoint in offer.endpoints:
                body = _body(offer.model, endpoint)
                json_type = "-H 'Content-Type: application/json'"
                return [
                    *lines,
                    (f"curl -N {key}{json_type} {address}{ENDPOINT_PATHS[endpoint][0]} -d {shlex.quote(body)}"),
                ]
    return lines


def folded_command(command: str, most: int) -> str:
    """A command in lines of at most so many columns that work when all of them are pasted into a shell.

    JSON in single quotes is broken behind a comma, where it may be. A name that is longer stays whole.
    """
    from rich.cells import cell_len  # noqa: PLC0415 - as in `output.folded`

    if cell_len(command) <= most:
        return command
    indent = command[: len(command) - len(command.lstrip(" "))]
    lines: list[str] = []
    line = indent
    for word in _SHELL_WORD.findall(command):
        parts = _FIELD_OF_BODY.split(word) if cell_len(word) + len(indent) + len(_MORE) > most else [word]
        if line.strip() and cell_len(f"{line} {parts[0]}{_GOES_ON}") > most:
            lines.append(line + _GOES_ON)
            line = indent + _MORE
        line += f" {parts[0]}" if line.strip() else parts[0]
        for part in parts[1:]:
            lines.append(line)
            line = indent + _MORE + part
    return "\n".join([*lines, line])


def about_the_key(node: Node) -> str:
    """What the commands need in order to work; "" if no key is needed."""
    if not node.settings.api_key:
        return ""
    if os.environ.get("API_KEY", "").strip():
        return "Callers need a key. In another terminal, `export API_KEY=...` first."
    return "Callers need a key; these commands read it from .env."


def key_option(node: Node) -> str:
    """What curl needs to send a key, found where the node found it; "" if none is needed."""
    keys = listed(node.settings.api_key)
    if not keys:
        return ""
    variable = "$API_KEY" if node.settings.api_key == keys[0] else "${API_KEY%%,*}"  # the first of several
    if os.environ.get("API_KEY", "").strip():
        return f'-H "Authorization: Bearer {variable}" '
    dotenv = shlex.quote(str(Path(".env").resolve()))
    return f'-H "Authorization: Bearer $(. {dotenv}; echo "{variable}")" '


def _body(model: str, endpoint: Endpoint) -> str:
    more = {"max_tokens": 100} if endpoint is Endpoint.ANTHROPIC_MESSAGES else {}
    return json.dumps({"model": model, **more, "messages": _MESSAGES, "stream": True})


def _own_address(*, is_ipv4_only: bool) -> str:
    """This machine's address on the way to others, as it stands in a URL; "" if there is no such way."""
    for family, somewhere in _SOMEWHERE[: 1 if is_ipv4_only else 2]:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((somewhere, 9))
                own: str = sock.getsockname()[0]
        except OSError:
            continue
        return f"[{own}]" if family is socket.AF_INET6 else own
    return ""
