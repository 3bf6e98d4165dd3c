"""Every code and reason in answers, headers, logs, metrics and between peers, for docs/errors.md."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import masa_node
from masa_node.api.http1 import raw_responses
from masa_node.chat import errors, outcome
from masa_node.network.links.control import RefusalCode
from masa_node.network.requests.errors import CODES

SOURCES = Path(masa_node.__file__).parent
_REFUSED = re.compile(
    rb'^HTTP/1\.1 (?P<status>\d{3}).*"message":"(?P<message>[^"]*)".*"code":"(?P<code>\w+)"', re.DOTALL
)

# What else may stand as the result of an attempt or the end of a request.
RESULTS = {
    outcome.WON: "its first valid piece came first: the caller gets its answer",
    outcome.CANCELLED: "another provider won, or the caller disconnected; no fault of its own",
    outcome.CALLER_GONE: "the caller closed the connection before the answer was whole, or read none of earlier ones "
    f"(status {outcome.STATUS_CALLER_GONE} in the log, after nginx); nothing to do",
    "http_<status>": "the LLM answered with this status and an error of its own",
}
REFUSALS_OF_LINKS = {
    RefusalCode.NOT_A_MEMBER: "the other node lets only members of its network in; ask its owner for an invite",
    RefusalCode.BAD_INVITE: "the invite is used up, expired, ended or not of that node; ask for a new one",
    RefusalCode.BLOCKED: "its owner blocked this node",
    RefusalCode.FULL: "it has as many links as it may; the node tries again later",
    RefusalCode.VERSION: "the two nodes have no version of the protocol in common; the message names which to update",
    RefusalCode.DUPLICATE: "there is a link between the two already; nothing to do",
}
# Words with which a link between nodes is closed, as logs show them on the other side.
CLOSE_REASONS = {
    "stopping": "the node at the other end is stopping",
    "this node is stopping": "the same, for all links at once",
    "the node was stopped.": "the same, in the network inside one process",
    "refused": "not let in; the refusal before it says why",
    "greeting failed": "one side sent something that is no greeting, or left; often a node of another version",
    "no greeting in time": "the other side sent nothing after the link was up",
    "another protocol": "the other program is no Masa node, or one of another protocol version",
    "too many at once": "more links are being greeted than this node accepts at once; the other side tries again later",
    "both sides dialed at once": "one of two links is closed; the other stays",
    "the peer came in meanwhile": "the same, found while dialing",
    "replaced by a newer link": "the peer came again, from a new address or after a fault",
    "a member needs the link": "all links are taken, and one with a lower membership level was closed",
    "it answered no heartbeats. Its process was killed, or its network is gone.": "nothing of it came for a while",
    "something went wrong inside this node": "a fault of the node at the other end; its log tells where",
    "it does not read what it is sent": "the peer read nothing for a long time, and too much waited for it",
    "it knows as many peers as it keeps, or as one member may vouch for": "there is no room for another peer",
    "nobody waits for it any more.": "the side that dialed has given up",
    "one-way streams are not used here": "the peer breaks the protocol",
}


def refusals_of_http() -> list[tuple[str, str, str]]:
    """Code, status and meaning of the answers to what is no request yet."""
    found: list[tuple[str, str, str]] = []
    for value in vars(raw_responses).values():
        match = _REFUSED.match(value) if isinstance(value, bytes) else None
        if match is not None:
            found.append((match["code"].decode(), match["status"].decode(), match["message"].decode()))
    return sorted(found)


def errors_elsewhere() -> list[tuple[str, str]]:
    """Code and meaning of the errors that commands and logs show, each defined where it arises."""
    for module in pkgutil.walk_packages(masa_node.__path__, "masa_node."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    named = {kind.code for kind in _tree(errors.MasaError) if kind.__module__ == errors.__name__}
    found = {kind.code: " ".join((kind.__doc__ or "").split()) for kind in reversed(_tree(errors.MasaError))}
    return sorted((code, about) for code, about in found.items() if code not in named)


def codes_on_the_wire() -> list[str]:
    """What the FAIL frame of a peer may say."""
    return sorted(CODES)


def close_reasons_in_code() -> set[str]:
    """Every constant text with which the network's code closes a link."""
    found: set[str] = set()
    for path in (SOURCES / "network").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "close":
                found |= {
                    arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                }
    return found


def lines() -> list[str]:
    """The part of docs/errors.md after the errors that callers get."""
    page = [
        "",
        "## What is not a request yet",
        "",
        "These errors are in OpenAI's shape, whatever the path was, and then the connection is closed.",
    ]
    page += ["", "| code | status | what it means |", "|---|---|---|"]
    page += [f"| `{code}` | {status} | {about} |" for code, status, about in refusals_of_http()]
    page += ["", "## Results of attempts, and ends of requests", ""]
    page += ["`X-Masa-Attempts`, the log (`attempts`, `error`) and metrics (`result`, `error`) give an error code, or:"]
    page += [
        "",
        "| result | what it means |",
        "|---|---|",
        *(f"| `{name}` | {about} |" for name, about in RESULTS.items()),
    ]
    page += ["", "## In commands and logs", "", "| code | what it means |", "|---|---|"]
    page += [f"| `{code}` | {about} |" for code, about in errors_elsewhere()]
    page += [
        "",
        "## Between nodes",
        "",
        "A peer that fails a request sends one of these codes; any other counts as `provider_failed`:",
        "",
    ]
    page += [", ".join(f"`{code}`" for code in codes_on_the_wire()) + ".", ""]
    page += ["A node that refuses a link sends one of these:", "", "| code | what it means |", "|---|---|"]
    page += [f"| `{code}` | {about} |" for code, about in REFUSALS_OF_LINKS.items()]
    page += ["", "A link is closed with one of these reasons:", "", "| reason | what it means |", "|---|---|"]
    page += [f"| {reason} | {about} |" for reason, about in CLOSE_REASONS.items()]
    return page


def _tree(kind: type[errors.MasaError]) -> list[type[errors.MasaError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _tree(child))]
