"""What `masa-node demo` prints: the nodes, a command to try, and every race as it happens."""

import contextlib
import io
import json
import sys
from typing import BinaryIO

import msgspec

from masa_node.cli.output import columns, folded
from masa_node.cli.race_view import Painter, RaceView, live
from masa_node.cli.trying import about_the_key, address_for_others, folded_command, key_option
from masa_node.devnet.demo import DemoLlm
from masa_node.network.transport.interfaces import short_id
from masa_node.node.node import Node
from masa_node.routing.racing.provider_stats import RaceEvent, RaceStep
from masa_node.upstreams.demo import MODEL
from masa_node.upstreams.embedded.model import SMOLLM2

# A small LLM, asked without an end, sometimes repeats itself until its context is full: half a minute of nothing new.
_REQUEST = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": 100}


class StderrInForce(io.TextIOBase):
    """Writes to what `sys.stderr` is at the moment: while races are drawn, that puts lines above them."""

    def write(self, text: str) -> int:
        """As `sys.stderr`."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """As `sys.stderr`."""
        sys.stderr.flush()

    def isatty(self) -> bool:
        """As `sys.stderr`."""
        return sys.stderr.isatty()

    @property
    def buffer(self) -> BinaryIO:
        """As `sys.stderr`."""
        return sys.stderr.buffer


class DemoForPrograms:
    """One line of JSON for each event."""

    def on_listening(self, address: str, node: Node) -> None:
        """See `StartListener`."""
        del node
        _print_line({"event": "listening", "address": address})

    def on_ready(self, address: str, node: Node) -> None:
        """See `StartListener`."""

    def ready(self, node: Node, peers: list[Node], llm: DemoLlm) -> None:
        """The first node can ask the others."""
        names = {peer.node_id: peer.settings.node_name for peer in peers}
        line = {"event": "ready", "model": llm.name or MODEL, "is_real_llm": bool(llm.name), "peers": names}
        _print_line(line if llm.name else {**line, "why_no_real_llm": llm.why_not})
        node.dispatcher.stats.watch = _print_race


class DemoForPeople:
    """The nodes, a command, and the races: drawn on a terminal, a line each elsewhere."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._address = ""
        self.view = RaceView()

    def on_listening(self, address: str, node: Node) -> None:
        """See `StartListener`."""
        del node
        self._address = address
        print(f"Masa Node listens on {address}")
        print("It has no LLM of its own; two peers with one are starting ...", flush=True)

    def on_ready(self, address: str, node: Node) -> None:
        """See `StartListener`."""

    def ready(self, node: Node, peers: list[Node], llm: DemoLlm) -> None:
        """The first node can ask the others."""
        names = {peer.node_id: peer.settings.node_name for peer in peers}
        shared = f"{llm.name}, {MODEL}" if llm.name else MODEL
        for node_id, name in names.items():
            print(f"  linked with {name:8} {short_id(node_id)}  (shares {shared})")
        body = json.dumps({"model": llm.name or MODEL, **_REQUEST})
        print(folded(f"  staking: {node.staking_line}", columns()))
        for line in ("", *_what_answers(llm).split("\n")):
            print(folded(line, columns()))
        print("Each request is a race between the two; the answer's X-Masa-Served-By names the winner.")
        print(f"Try it in another terminal: {about_the_key(node)}".rstrip())
        key, base = key_option(node), address_for_others(node, self._address)
        for command in (f"curl -iN {key}{base}/v1/chat/completions -d '{body}'", f"curl {key}{base}/api/v1/peers"):
            print(folded_command(f"  {command}", columns()))
        print("Ctrl+C stops all three.\n", flush=True)
        self.view.names = names
        if sys.stdout.isatty():
            live_view = self._stack.enter_context(live(self.view))
            node.dispatcher.stats.watch = Painter(self.view, live_view.refresh).happened
            live_view.refresh()
        else:
            node.dispatcher.stats.watch = self._print

    def _print(self, event: RaceEvent) -> None:
        if event.step is not RaceStep.ASKED:
            name = self.view.name_of(event.provider)
            why = f" ({event.why})" if event.why else ""
            print(f"race {event.request_id}: {name} {event.step} after {event.after_s * 1000:.0f} ms{why}", flush=True)


def _what_answers(llm: DemoLlm) -> str:
    """Real answers, or an echo?"""
    if not llm.name:
        return f"No real LLM answers here ({llm.why_not}).\n{MODEL} only repeats what you say."
    kind = "a small real LLM: quick, and often wrong" if llm.name == SMOLLM2 else "a real LLM"
    return f"{llm.name} is {kind}. {MODEL} only repeats what you say."


def _print_race(event: RaceEvent) -> None:
    exact = msgspec.structs.replace(event, after_s=round(event.after_s, 4))
    _print_line({"event": "race", **msgspec.to_builtins(exact)})


def _print_line(value: object) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)
