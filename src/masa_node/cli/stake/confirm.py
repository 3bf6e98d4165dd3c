"""Questions to people before something is signed, and what they are told when they do not go on."""

import contextlib
from collections.abc import Generator

import typer

from masa_node.chat.errors import MasaError
from masa_node.cli.stake.context import tell


class Declined(MasaError):
    """You said no, so it was not sent."""

    code = "declined"


def confirm(question: str, otherwise: str) -> None:
    """Raises `Declined` with the words of `otherwise` when the answer is no."""
    if not typer.confirm(question, err=True):
        raise Declined(otherwise)


@contextlib.contextmanager
def unless_left(otherwise: str) -> Generator[None]:
    """A user that leaves a question of the block by Ctrl-C or Ctrl-D is told how things stand, before the end."""
    try:
        yield
    except typer.Abort:
        tell(f"\n{otherwise}")
        raise KeyboardInterrupt from None  # which typer would take for a failure
