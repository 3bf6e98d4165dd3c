"""The node as a process: what it prints, how it ends, and two servers behind one node."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import openai
from node_process import Node
from pair import Pair

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


def test_up_says_in_json_where_it_listens_and_ends_politely(serve: Callable[[str], Pair], tmp_path: Path) -> None:
    with Node(tmp_path, {"LLM_CHAT_URL": serve("count").server.url}) as node:
        code = node.stop()
    events = [json.loads(line)["event"] for line in node.stdout_lines]
    assert events[0] == "listening"
    assert set(events) <= {"listening", "ready"}
    assert code == 0


def test_two_servers_behind_one_node_answer_each_for_its_model(
    serve: Callable[[str], Pair],
    start_node: Callable[..., AbstractContextManager[Node]],
    openai_at: Callable[[str], openai.OpenAI],
    tmp_path: Path,
) -> None:
    config = tmp_path / "masa.toml"
    names = ("count", "utf8")
    config.write_text("\n".join(f'[[upstream]]\nname = "{n}"\nurl = "{serve(n).server.url}"\n' for n in names))
    with start_node(MASA_CONFIG=str(config)) as node:
        client = openai_at(node.url)
        assert sorted(model.id for model in client.models.list()) == ["count", "utf8"]
        counts, spells = (
            client.chat.completions.create(model=name, messages=HELLO, max_tokens=10).choices[0].message.content
            for name in names
        )
    assert (counts, spells) == (" 1 2 3 4 5 6 7 8 9 10", "é🙂日")
