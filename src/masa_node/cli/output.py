"""How every command writes what it found, and shows its key to the node."""

import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from masa_node.chat.errors import ConfigurationError
from masa_node.chat.request import Headers

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MAX_CELL_CHARS = 256  # as long as the name of a model may be
_MORE = "  "  # by which the lines that go on are indented
PIPED_CHARS = 240  # a line's width where no terminal gives one


class Group(StrEnum):
    """How `masa-node --help` puts commands together."""

    RUN = "Run a node"
    LOOK = "Look at it"
    PEERS = "Peers"
    STAKES = "Stakes"


Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs instead of text for people.")]


def print_json(value: object) -> None:
    """Indented, to stdout."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_nowhere() -> None:
    """From now on, as whoever read what this program prints has gone (`| head -1`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_standard_streams() -> None:
    """Open those that this program was started without: a socket would get their number, and what is printed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free is this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - stays open


def key_header(api_keys: Sequence[str]) -> Headers:
    """How a command shows the owner's first key to the node: in UTF-8, as curl does."""
    return (("Authorization", f"Bearer {api_keys[0].encode().decode('latin-1')}"),) if api_keys else ()


def check_url(url: str) -> None:
    """Is this the address of a node? Raises `ConfigurationError`."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets around what is no address
        is_one = False
    if not is_one:
        raise ConfigurationError(f"--url: {url!r} is not the address of a node. Write http://127.0.0.1:8080")


def console() -> "Console":
    """For tables and sentences. In a pipe or a file they are not folded to a terminal's width."""
    from rich.console import Console  # noqa: PLC0415 - as long as all else, for commands that print plain lines

    made = Console()
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = PIPED_CHARS
    return made


def columns() -> int:
    """How wide a line may be: COLUMNS, else the terminal's width. What is piped is not folded."""
    return shutil.get_terminal_size((sys.maxsize, 0)).columns


def folded(sentence: str, most: int) -> str:
    """These words in lines of at most so many columns, the first one indented as they are and the others by more."""
    from rich.cells import cell_len, chop_cells  # noqa: PLC0415 - most commands fold nothing

    if cell_len(sentence) <= most:
        return sentence
    indent = sentence[: len(sentence) - len(sentence.lstrip(" "))]
    room = max(1, most - len(indent) - len(_MORE))
    lines: list[str] = []
    line = indent
    for word in sentence.split():
        for part in chop_cells(word, room) if cell_len(word) > room else [word]:
            if line.strip() and cell_len(line) + 1 + cell_len(part) > most:
                lines.append(line)
                line = indent + _MORE
            line += f" {part}" if line.strip() else part
    return "\n".join([*lines, line])


def plain(text: str, limit: int) -> str:
    """A stranger's words, safe to be shown on a terminal: printable characters only, at most `limit` of them."""
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable if len(printable) <= limit else f"{printable[: limit - 1]}…"


def cell(text: str, limit: int = MAX_CELL_CHARS) -> "Text":
    """The same in a table, where square brackets would be markup."""
    from rich.text import Text  # noqa: PLC0415 - as above

    return Text(plain(text, limit))


def calendar_time(at_unix_s: float) -> str:
    """This moment as the owner's clock shows it."""
    return datetime.fromtimestamp(at_unix_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def ago(seconds: float) -> str:
    """How long since, in one number and one unit."""
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size_s:
            return f"{seconds / size_s:.0f} {unit} ago"
    return "now"
