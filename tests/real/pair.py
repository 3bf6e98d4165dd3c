"""What most of these tests stand on."""

from collections.abc import Callable
from dataclasses import dataclass

from llama_server import LlamaServer
from node_process import Node


@dataclass(frozen=True, slots=True)
class Pair:
    """A real server and a node in front of it."""

    server: LlamaServer
    node: Node


Serve = Callable[[str], Pair]  # from a model's name
