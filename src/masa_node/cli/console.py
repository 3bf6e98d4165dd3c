"""`masa-node console`: a link to the running node's console, by which its owner may also change the node."""

import asyncio
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from masa_node.cli.output import Group, Json, print_json
from masa_node.node.settings.environment import read_settings


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("console", rich_help_panel=Group.LOOK)(console)


def console(
    *,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only print the link; open no browser.")] = False,
    json: Json = False,
) -> None:
    """Print a link to the running node's console, and open it. It is good once, for a minute; the page for 12 hours.

    Whoever opens it may change the node: invites, joining, peers.
    """
    from masa_node.cli.peers.actions import commanded  # noqa: PLC0415 - other commands need no store
    from masa_node.node.owner.console import make_console_link  # noqa: PLC0415
    from masa_node.telemetry import log  # noqa: PLC0415

    values = read_settings()
    log.configure(values.log_level, values.log_format)
    made = asyncio.run(make_console_link(commanded(Path(values.masa_dir).expanduser())))
    if json:
        print_json(made)
        return
    print(made.link, flush=True)
    print("\nThis link is good once, within a minute. Who opens it may change this node.", file=sys.stderr)
    if not no_open and _has_screen():
        webbrowser.open(made.link)


def _has_screen() -> bool:
    """Is somebody there to look, and not at a browser in the terminal itself?"""
    has_windows = sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    return has_windows and sys.stdout.isatty()
