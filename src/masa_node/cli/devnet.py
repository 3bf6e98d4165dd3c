"""The command `devnet`, and what it prints."""

import asyncio
import json as json_module
import os
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from masa_node.cli.output import Group, Json, console
from masa_node.network.transport.interfaces import short_id
from masa_node.node.settings.environment import read_settings
from masa_node.node.signals import ended_at_once
from masa_node.storage.extras import how_to_add
from masa_node.upstreams.spec import DEMO_MODEL

if TYPE_CHECKING:
    from rich.console import Console

    from masa_node.devnet.nodes import DevnetNode
    from masa_node.devnet.run import Devnet, DevnetListener

_WARNING = "Its keys are throwaway ones in plain files: never use them on a real chain."
_MESSAGES = [{"role": "user", "content": "Hello"}]


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command(rich_help_panel=Group.STAKES)(devnet)


def devnet(
    folder: Annotated[
        str, typer.Option("--dir", help="Folder for its files. Unset: `devnet` in MASA_DIR.", show_default=False)
    ] = "",
    *,
    json: Json = False,
) -> None:
    """Try stakes on this machine: a chain of its own (anvil), two staked nodes and one without, ready to be started."""
    with ended_at_once():
        from masa_node.devnet.anvil import find_anvil  # noqa: PLC0415
        from masa_node.devnet.run import run_devnet  # noqa: PLC0415 - the other commands need no chain
        from masa_node.telemetry import log  # noqa: PLC0415

    values = read_settings()
    log.configure(values.log_level, values.log_format)
    path = Path(folder) if folder else Path(values.masa_dir) / "devnet"
    listener: DevnetListener = DevnetForPrograms() if json else DevnetForPeople(console())
    asyncio.run(run_devnet(find_anvil(os.environ, Path.cwd()), path, listener))


class DevnetForPrograms:
    """One JSON object, on one line, once everything is there."""

    def on_ready(self, devnet: "Devnet") -> None:
        """See `DevnetListener`."""
        print(msgspec.json.encode(devnet).decode(), flush=True)

    def on_ended(self, devnet: "Devnet") -> None:
        """See `DevnetListener`."""


class DevnetForPeople:
    """The nodes, how to start them, and what to try."""

    def __init__(self, out: "Console") -> None:
        self._out = out

    def on_ready(self, devnet: "Devnet") -> None:
        """See `DevnetListener`."""
        self._say(f"A local chain with a staking contract runs at {devnet.rpc_url} (chain {devnet.chain_id}).")
        self._say(_WARNING, "bold red")
        for line in _table(devnet):
            self._say(line)
        self._say("\nStart the nodes, each in a terminal of its own:")
        for node in devnet.nodes:
            self._say(f"  {shlex.quote(node.start)} up", "bold")
        self._say(
            "Each is a script with the settings of its node, which sends to staked peers only, and serves no others.\n"
            "STAKE_PROVIDERS and STAKE_CALLERS (prefer, off) before it change that; DEMO=0 takes its LLM away."
        )
        self._say("\nThen try:")
        for about, command in _to_try(devnet):
            self._say(f"  {command}", "bold")
            self._say(f"      {about}")
        self._say(f"The passphrase of every keystore is: {devnet.passphrase}")
        if find_spec("eth_account") is None:
            self._say(f"--keystore needs one more package: {how_to_add('stake')}")
        self._say("\nCtrl+C ends the chain. Nodes go on for a while with what they read of it.")

    def on_ended(self, devnet: "Devnet") -> None:
        """See `DevnetListener`."""
        self._say(f"\nThe chain has ended. Profile, keys and nodes' folders remain in {devnet.folder};")
        self._say("the next `masa-node devnet` there replaces them.")

    def _say(self, text: str, style: str = "") -> None:
        """As it is: commands are copied from here."""
        self._out.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
        self._out.file.flush()


def _table(devnet: "Devnet") -> list[str]:
    """Lines, which a narrow terminal folds and does not cut."""
    rows = [("node", "id", "address for requests", "owner", "stake", "LLM"), *(_row(node) for node in devnet.nodes)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(node: "DevnetNode") -> tuple[str, ...]:
    stake = "staked" if node.is_staked else "none"
    model = DEMO_MODEL if node.has_llm else "none"
    return node.name, short_id(node.node_id), node.url, _short(node.owner), stake, model


def _short(address: str) -> str:
    """The keystore has it whole."""
    return f"{address[:6]}…{address[-4:]}"


def _to_try(devnet: "Devnet") -> list[tuple[str, str]]:
    """What happens, and by which command."""
    asking, serving, unstaked = devnet.nodes
    body = json_module.dumps({"model": DEMO_MODEL, "messages": _MESSAGES, "stream": True})
    return [
        (
            f"node {asking.name} asks {serving.name}, and never {unstaked.name}",
            f"curl -iN {asking.url}/v1/chat/completions -d '{body}'",
        ),
        ("what is known of the stake of a node and of its peers", f"{shlex.quote(asking.start)} stake status"),
        (f"node {unstaked.name} gets a stake ...", _with_key(unstaked, "deposit min")),
        ("... and its owner's delegation, and is asked too", _with_key(unstaked, "delegate")),
        (f"node {serving.name} loses its stake, and is no longer asked", _with_key(serving, "unbond all")),
        (f"node {asking.name}'s delegation ends: it counts as not staked", _with_key(asking, "revoke")),
    ]


def _with_key(node: "DevnetNode", what: str) -> str:
    return f"{shlex.quote(node.start)} stake {what} --keystore {shlex.quote(node.keystore)}"
