"""Nodes that know each other: who is linked, who serves what, and waiting until it is so. No pytest here."""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_server import LlamaServer
from node_process import Node

MEET_WITHIN_S = 20.0  # a machine under load; an idle one takes 0.3 s
LOOK_EVERY_S = 0.05
GIVE_EVERY_S = 0.5  # a command, which takes a third of a second of a core

StartNode = Callable[..., AbstractContextManager[Node]]
StartTrio = Callable[..., AbstractContextManager["Trio"]]
# How many serve each model of a trio (the fixture `start_trio` says which).
_SHARED = {"count": 2, "utf8": 2, "think": 2, "tool": 2, "endless": 2, "tardy": 2, "late": 2, "left": 1, "masa-demo": 2}
_ATTEMPT = re.compile(r"([^=, ]+)=([a-z0-9_]+);ms=[0-9]+")


@dataclass(frozen=True, slots=True)
class Supplier:
    """A node with LLM servers of its own, by the name of their model file."""

    node: Node
    servers: dict[str, LlamaServer]

    @property
    def node_id(self) -> str:
        """Its id on the network."""
        return node_id(self.node)


@dataclass(frozen=True, slots=True)
class Trio:
    """A node without an LLM, and two that share theirs with it."""

    requester: Node
    left: Supplier
    right: Supplier

    def wait_until_known(self) -> None:
        """Until the requester is linked with the others, which it asks first then, and knows all that they share."""
        both = {self.left.node_id, self.right.node_id}
        wait_until(lambda: both <= linked(self.requester))
        for model, suppliers in _SHARED.items():
            wait_until(lambda model=model, suppliers=suppliers: len(servers_of(self.requester, model)) == suppliers)

    def supplier(self, of: str) -> Supplier:
        """The one with this id."""
        return next(each for each in (self.left, self.right) if each.node_id == of)

    def other(self, than: str) -> Supplier:
        """The one with another id."""
        return next(each for each in (self.left, self.right) if each.node_id != than)


def wait_until(is_so: Callable[[], Any], within_s: float = MEET_WITHIN_S, every_s: float = LOOK_EVERY_S) -> float:
    """Wait, and say how many seconds it took. Raises TimeoutError after `within_s`."""
    started_s = time.monotonic()
    while not is_so():
        if time.monotonic() - started_s > within_s:
            raise TimeoutError(f"not so after {within_s} s")
        time.sleep(every_s)
    return time.monotonic() - started_s


def own_view(node: Node) -> dict[str, Any]:
    """What the node tells of itself once it is on the network."""
    wait_until(lambda: node.get("/api/v1/node")["node_id"])
    view: dict[str, Any] = node.get("/api/v1/node")
    return view


def node_id(node: Node) -> str:
    """Its id, once it is on the network."""
    return str(own_view(node)["node_id"])


def bootnode(node: Node) -> str:
    """The node as others write it into BOOTNODES."""
    view = own_view(node)
    return "@".join([view["node_id"], *view["addresses"]])


def peer_row(node: Node, peer: str) -> dict[str, Any]:
    """What the node tells of this peer; nothing if it does not know it."""
    rows: list[dict[str, Any]] = node.get("/api/v1/peers")["peers"]
    nothing: dict[str, Any] = {}
    return next((row for row in rows if row["id"] == peer), nothing)


def linked(node: Node) -> set[str]:
    """The ids of the peers that the node is connected with."""
    return {row["id"] for row in node.get("/api/v1/peers")["peers"] if row["connected"]}


def servers_of(node: Node, model: str) -> set[str]:
    """Who serves the model and may be asked for it, by the node's own list."""
    models = node.get("/api/v1/llm/models")["models"]
    return {server["provider"] for entry in models if entry["id"] == model for server in entry["served_by"]}


def sharers_of(node: Node, model: str) -> set[str]:
    """The linked peers that share the model, by what the node knows of them: those too that may not be asked."""
    rows = node.get("/api/v1/peers")["peers"]
    return {row["id"] for row in rows if row["connected"] and model in row["models"]}


def attempts(header: str) -> dict[str, str]:
    """What became of each provider, by the header X-Masa-Attempts."""
    return dict(_ATTEMPT.findall(header))


def write_upstreams(path: Path, models_of: dict[str, tuple[str, ...]]) -> None:
    """A masa.toml with these servers, by URL, and the names that each is offered under."""
    rows = [
        f'[[upstream]]\nname = "llm{number}"\nurl = "{url}"\nmodels = {list(names)}\n'
        for number, (url, names) in enumerate(models_of.items())
    ]
    path.write_text("\n".join(rows).replace("'", '"'))
