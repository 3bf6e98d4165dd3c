"""What `up` prints while the node starts. It serves whether anybody reads that or not."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

import msgspec

from masa_node.api.views.models import grouped
from masa_node.cli.output import columns, folded, print_nowhere
from masa_node.cli.trying import about_the_key, address_for_others, commands, folded_command
from masa_node.dialects.condensing import at_once
from masa_node.node.node import Node

MAX_SHOWN_MODELS = 12
NOTHING_YET = "No model can be asked yet."
ID_CHARS = 10  # of a node's id, as the other commands show it


P = ParamSpec("P")


def _to_whoever_reads(greet: Callable[P, None]) -> Callable[P, None]:
    """A closed pipe (`masa-node up | head -1`) ends what is printed, not the node, whenever it was closed."""

    @functools.wraps(greet)
    def printed(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            greet(*args, **kwargs)
        except BrokenPipeError:
            print_nowhere()

    return printed


class BannerForPrograms:
    """One line of JSON for each event."""

    @_to_whoever_reads
    def on_listening(self, address: str, node: Node) -> None:
        """See `StartListener`."""
        upstreams = [{"name": provider.name, "location": provider.location} for provider in node.poller.providers]
        _print_line({"event": "listening", "address": address, "upstreams": upstreams})

    @_to_whoever_reads
    def on_ready(self, address: str, node: Node) -> None:
        """See `StartListener`."""
        states = [{"name": name, "kind": kind, "up": is_up} for name, kind, is_up in node.states()]
        _print_line(
            {
                "event": "ready",
                "address": address,
                "upstreams": states,
                "models": _models(node),
                "node_id": node.node_id or None,
                "staking": node.staking_line,
            }
        )


class BannerForPeople:
    """The address, what is behind it, and a command to try."""

    @_to_whoever_reads
    def on_listening(self, address: str, node: Node) -> None:
        """See `StartListener`."""
        _say(f"Masa Node listens on {address}")
        if not node.poller.providers and node.settings.find_local:
            _say("Looking for LLM servers on this machine (LLM_CHAT_URL is not set) ...")
        sys.stdout.flush()

    @_to_whoever_reads
    def on_ready(self, address: str, node: Node) -> None:
        """See `StartListener`."""
        now, offers = node.situation(), node.askable(node.catalog.all_offers())
        for server in now.servers:
            _say(f"  {server.line}")
        models = _models(node)
        if models:
            more = f" and {len(models) - MAX_SHOWN_MODELS} more" if len(models) > MAX_SHOWN_MODELS else ""
            _say(f"  Models: {', '.join(models[:MAX_SHOWN_MODELS])}{more}")
        if node.node_id:
            _say(f"  Peers: this node is {node.node_id[:ID_CHARS]} on its network; `masa-node peers` shows the others")
        _say(f"  Staking: {node.staking_line}")
        outer_address = address_for_others(node, address)
        if outer_address != address:
            _say(f"  Other machines reach it at {outer_address}")
        _say(f"\nOpenAI clients: base URL {outer_address}/v1")
        _say(f"Anthropic and Ollama clients: {outer_address}")
        if now.is_ready:
            _say(f"Try it: {about_the_key(node)}")
            for command in commands(node, outer_address, offers):
                print(folded_command(f"  {command}", columns()))
        else:
            _say(NOTHING_YET if now.servers else now.why_not)
            _say("`masa-node models` lists what can be asked once there is something; `masa-node demo` needs no LLM")
            _say("server; `masa-node join LINK` brings a friend's models here.")
        print("Ctrl+C stops it.", flush=True)


def _say(sentence: str) -> None:
    """In lines that fit into the terminal."""
    for line in sentence.split("\n"):
        print(folded(line, columns()))


def _models(node: Node) -> list[str]:
    return [group[0][1].model for group in at_once(grouped(node.askable(node.catalog.all_offers())))]


def _print_line(value: object) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)
