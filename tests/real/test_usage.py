"""The ledger of a node that is killed: all but the last second of it is there, and no request is there twice."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Any

from meeting import StartNode, bootnode, node_id, servers_of, wait_until
from node_process import Node

REQUESTS = 50
WRITTEN_WITHIN_S = 10.0  # on a busy machine


def ask(node: Node) -> dict[str, Any]:
    body = json.dumps({"model": "masa-demo", "messages": [{"role": "user", "content": "hello"}]})
    with closing(node.connection()) as connection:
        connection.request("POST", "/v1/chat/completions", body)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())["usage"]
        return answer


def usage(node: Node) -> list[dict[str, Any]]:
    done = node.command("usage", "--by", "key,model", "--json")
    assert done.returncode == 0, done.stderr
    lines: list[dict[str, Any]] = json.loads(done.stdout)
    return lines


def test_a_killed_node_has_lost_nothing_that_is_older_than_a_second(
    start_node: Callable[..., AbstractContextManager[Node]],
) -> None:
    with start_node(DEMO="1", FIND_LOCAL="0", DEMO_PIECES_PER_S="100000") as node:
        given = [ask(node) for _ in range(REQUESTS)]
        give_up_at_s = time.monotonic() + WRITTEN_WITHIN_S
        while sum(line["requests"] for line in usage(node)) < REQUESTS:
            assert time.monotonic() < give_up_at_s
        node.kill()
        (line,) = usage(node)
        assert (line["key"], line["model"], line["requests"]) == ("owner", "masa-demo", REQUESTS)
        assert line["input_tokens"] == sum(each["prompt_tokens"] for each in given)
        assert line["output_tokens"] == sum(each["completion_tokens"] for each in given)
        node.start()
        ask(node)
        node.stop()
        (line,) = usage(node)
        assert line["requests"] == REQUESTS + 1


def test_what_peers_used_of_this_node_and_this_node_of_peers_stands_in_both_ledgers(start_peer: StartNode) -> None:
    with (
        start_peer(OPEN_NETWORK="1") as requester,
        start_peer(BOOTNODES=bootnode(requester), DEMO="1", DEMO_PIECES_PER_S="100000") as supplier,
    ):
        wait_until(lambda: servers_of(requester, "masa-demo"))
        given = [ask(requester) for _ in range(3)]

        def by_peer(node: Node) -> list[dict[str, Any]]:
            done = node.command("usage", "--by", "peer,model", "--json")
            lines: list[dict[str, Any]] = json.loads(done.stdout)
            return lines

        for node, peer, use in ((requester, supplier, "ours"), (supplier, requester, "theirs")):
            wait_until(lambda node=node: sum(line["requests"] for line in by_peer(node)) == len(given))
            (line,) = by_peer(node)
            assert (line["peer"], line["use"], line["model"]) == (node_id(peer), use, "masa-demo")
            assert line["output_tokens"] == sum(each["completion_tokens"] for each in given)
