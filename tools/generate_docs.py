"""Writes the parts of docs/ that the code knows best: settings, endpoints, errors, metrics, commands.

`python -m tools.generate_docs` writes them; with `--check` it exits with 1, naming them, if any is out of date.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import click
import typer

from masa_node.api.control.events import EVENTS
from masa_node.api.route_headers import FORMAT, FORMAT_FORM, PRIVACY, PRIVACY_FORM, RACE, RACE_FORM, STRICT
from masa_node.api.routes import CHANGES, GETS
from masa_node.api.views.openapi import describe
from masa_node.chat import errors
from masa_node.chat.statuses import status_of_kind
from masa_node.cli.main import app
from masa_node.node.settings.docs import setting_docs
from masa_node.telemetry.metrics import metric_docs
from tools import error_codes

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Made from the code by `make docs`; changes here are lost. -->\n"


def settings() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Each is an environment variable, or a line `NAME=value` in a file `.env` in the folder where the node is",
        "started. The environment wins. An empty value counts as not set. `masa-node settings` shows those in force.",
        "",
        "For several LLM servers see [masa.toml](masa-toml.md).",
        "",
        "| name | kind | default | what it is |",
        "|---|---|---|---|",
    ]
    for doc in setting_docs():
        default = f"`{doc.default}`" if doc.default else ""
        secret = " (secret: never shown)" if doc.is_secret else ""
        lines.append(f"| `{doc.name}` | {doc.kind} | {default} | {doc.about}{secret} |")
    return "\n".join(lines) + "\n"


_ONE_ENDPOINT = (
    "## One endpoint for every format",
    "",
    "`/api/v1/chat` and `/v1/api/chat` take a body in any format. Which one it is served in is chosen before",
    "anybody is asked. All who are asked answer in that one, natively or [translated](translation.md), and the",
    "answer's `X-Masa-Format` names it. The first of these that says something decides:",
    "",
    "1. The header `X-Masa-Format` of the request.",
    "2. The body, where it has what only one format has: `options` or a message's `images` are Ollama's, `n` or",
    "   `response_format` OpenAI's, `stop_sequences`, or `system` beside `messages`, Anthropic's, `lora` Cloudflare's,",
    "   `input` without `messages` is of OpenAI's responses. One with fields of two formats is Ollama's.",
    "3. The servers and peers that serve the model and may be asked: if all have the same format of their own, it is",
    "   that one. So a body passes unchanged to a lone server.",
    "4. Ollama's, with its default to stream. With `X-Masa-Strict: 1`, where nobody speaks that: OpenAI's,",
    "   Anthropic's or Cloudflare's, the first that somebody speaks.",
    "",
    "A body with a `prompt` and no `messages` is one for OpenAI's completions, or Ollama's generate. In logs and",
    "metrics the request is one through the endpoint of its format.",
)


def endpoints() -> str:
    """docs/endpoints.md."""
    lines = [
        "# Endpoints",
        "",
        "What the node answers over HTTP. Anything else is 404, and nothing else is ever forwarded to an LLM server.",
        "The machine-readable description is at `GET /openapi.json`.",
        "",
        "| endpoint | what it is |",
        "|---|---|",
    ]
    for path, methods in describe((*GETS, EVENTS, *CHANGES))["paths"].items():
        lines += [f"| `{method.upper()} {path}` | {each['summary']} |" for method, each in methods.items()]
    lines += [
        "",
        "## Headers of every answer",
        "",
        "| header | what it says |",
        "|---|---|",
        "| `X-Request-Id` | the request's id, also in the log; yours, if you sent a short plain one |",
        "| `X-Masa-Model` | the model that was asked for; where your name for it is an alias, what that stands for |",
        "| `X-Masa-Alias` | `yours>model`: your name for it is an [alias](masa-toml.md#aliases) of that model |",
        "| `X-Masa-Served-By` | `local`: an LLM server of this node; else the id of the peer that answered |",
        "| `X-Masa-Attempts` | the providers that were asked, each with its result and milliseconds; at most 8 |",
        "| `X-Masa-Node` | the node's version |",
        f"| `{FORMAT}` | at `/api/v1/chat` and `/v1/api/chat`: the format of the answer |",
        "| `X-Masa-Translated` | `yours>server's`, when no provider speaks your format: [translated](translation.md) |",
        "| `X-Masa-Dropped` | the fields of your request that the translation left out |",
        "| `X-Masa-Usage` | `asked`: the node asked for the stream's token counts, which end it (USAGE=ask) |",
        "| `X-Masa-Estimated` | what of the answer is an estimate of this node |",
        "",
        "## Headers of a chat request",
        "",
        "They steer the way of one request and are not passed on. Any other value is an error (400).",
        "",
        "| header | what it says |",
        "|---|---|",
        f"| `{RACE}` | which peers are asked when no LLM of this node answers: {RACE_FORM}; unset: `RACE` |",
        f"| `{PRIVACY}` | how far the request may travel: {PRIVACY_FORM}; unset: `PRIVACY` |",
        f"| `{STRICT}` | 1: refuse the request where it would be [translated](translation.md); unset: translate it |",
        f"| `{FORMAT}` | at `/api/v1/chat` and `/v1/api/chat`: the format of body and answer: {FORMAT_FORM} |",
        "",
        *_ONE_ENDPOINT,
    ]
    return "\n".join(lines) + "\n"


def error_tree() -> str:
    """docs/errors.md."""
    lines = [
        "# Errors",
        "",
        "Every error has the shape of the endpoint's own format (OpenAI, Anthropic, Ollama) and a true status. Its",
        "text says what happened, what was tried and what to do. `code` is stable: it is in OpenAI-shaped errors, in",
        "the log (`error`) and in the metric `masa_requests_total`.",
        "",
        "An LLM's own error answer is passed on unchanged. A stream that breaks ends with an error frame in its",
        "format, and then the connection breaks: a cut answer never looks whole. One that is cut because the node",
        "itself stops ends with its connection alone.",
        "",
        "Some errors stay the same however often a client asks: an unknown model, a refusal, a request that cannot",
        "be translated, a URL that leads back here. They have the header `x-should-retry: false`, which the SDKs of",
        "OpenAI and Anthropic heed. Otherwise these SDKs send a request again, twice, after a 408, 409, 429 or 5xx.",
        "",
        "| code | status | what it means and what to do |",
        "|---|---|---|",
    ]
    seen: set[str] = set()
    for kind in _tree(errors.MasaError):
        if kind.code in seen or kind in (errors.ConfigurationError, errors.MasaError):
            continue
        seen.add(kind.code)
        status = "the LLM's" if kind is errors.ErrorAnswer else str(status_of_kind(kind))
        lines.append(f"| `{kind.code}` | {status} | {' '.join((kind.__doc__ or '').split())} |")
    lines += ["", "`configuration` is an error of the command line, which then ends with exit code 2."]
    return "\n".join([*lines, *error_codes.lines()]) + "\n"


def metrics() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "`GET /metrics`, in Prometheus' text format. Every label has a bounded set of values: at most 200 names of",
        "models that an LLM server lists are counted by name, the rest as `other`. Process metrics are there too.",
        "",
        "| metric | kind | labels | what it counts |",
        "|---|---|---|---|",
    ]
    for doc in metric_docs():
        labels = ", ".join(f"`{label}`" for label in doc.labels)
        lines.append(f"| `{doc.name}` | {doc.kind} | {labels} | {doc.about} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """docs/commands.md."""
    root = cast("click.Group", typer.main.get_command(app))
    lines = ["# Commands", "", "`masa-node COMMAND --help` says the same. `--json` writes JSON for programs.", ""]
    for name, command in _each_command(root):
        lines += [f"## `masa-node {name}`", "", str(command.help), ""]
        options = [option for option in command.params if getattr(option, "help", None)]
        lines += [f"- `{' '.join(option.opts)}` {option.help}" for option in options]
        lines += [""] if options else []
    lines += ["Exit codes: 0 fine, 1 failed, 2 a setting or an argument is wrong, 130 interrupted."]
    return "\n".join(lines) + "\n"


def _each_command(group: click.Group, before: str = "") -> list[tuple[str, click.Command]]:
    """Every command by its whole name, each group followed by what is in it."""
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        found.append((before + name, command))
        if isinstance(command, typer.core.TyperGroup):
            found += _each_command(command, f"{before}{name} ")
    return found


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings,
    "endpoints.md": endpoints,
    "errors.md": error_tree,
    "metrics.md": metrics,
    "commands.md": commands,
}


def stale_pages() -> list[str]:
    """The pages that are not what the code says now."""
    return [name for name, make in PAGES.items() if not _is_current(DOCS / name, make())]


def main() -> None:
    """See the module."""
    if "--check" in sys.argv:
        stale = stale_pages()
        if stale:
            sys.exit(f"Not up to date: {', '.join(stale)}. Run `make docs`.")
        return
    DOCS.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (DOCS / name).write_text(NOTE + make(), "utf-8")
        print(f"docs/{name}")


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text("utf-8") == NOTE + text


def _tree(kind: type[errors.MasaError]) -> list[type[errors.MasaError]]:
    """Each kind before those below it, and these as they are written: what was imported first is no matter."""
    children = [child for child in kind.__subclasses__() if child.__module__.startswith("masa_node.chat.")]
    return [kind, *(found for child in sorted(children, key=_place) for found in _tree(child))]


def _place(kind: type[errors.MasaError]) -> tuple[bool, str, int]:
    return kind.__module__ != errors.__name__, kind.__module__, inspect.getsourcelines(kind)[1]


if __name__ == "__main__":
    main()
