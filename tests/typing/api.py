"""The public API as a typed program uses it. Never run: mypy and pyright check it in `make lint`.

What is here may not become an error without a line in the changelog.
"""

from pathlib import Path
from typing import assert_type

from masa_node import Node, Settings, __version__, read_settings, serve

version: str = __version__

assert_type(read_settings(), Settings)
assert_type(read_settings({"PORT": "0"}, Path(".env")), Settings)

settings = Settings(port=0, llm_chat_url="http://localhost:11434", network="off", masa_dir="/srv/masa", demo=True)
assert_type(settings.port, int)
assert_type(settings.llm_timeout, float)
assert_type(settings.masa_dir, str)


async def a_node_while_the_block_runs() -> str:
    async with serve(settings) as node:
        assert_type(node, Node)
        assert_type(node.url, str)
        assert_type(node.node_id, str)
        assert_type(node.bootnode, str)
        assert_type(node.settings, Settings)
        return node.url


async def a_node_at_once_and_ended_at_once() -> None:
    async with serve(settings, is_ready=False, grace_s=0.0) as node:
        assert_type(node.url, str)


async def two_nodes_of_one_program() -> None:
    async with serve(settings) as first, serve(Settings(port=0, bootnodes=first.bootnode)) as second:
        assert_type(second, Node)
