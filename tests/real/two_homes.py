"""What the tests of two homes do again and again, by README's own commands. No pytest here."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from calling import answered
from homes import Homes, node_at
from meeting import node_id, servers_of, wait_until
from netns import NodeThere

MEETS_WITHIN_S = 20.0
FORWARDED = 4433


@contextlib.contextmanager
def two_nodes(
    homes: Homes, folder: Path, bobs: Mapping[str, str] | None = None, **settings: str
) -> Iterator[tuple[NodeThere, NodeThere]]:
    """Ada's and bob's, running; `settings` are ada's."""
    folders = [folder / name for name in ("ada", "bob")]
    for each in folders:
        each.mkdir()
    with node_at(homes, "ada", folders[0], settings) as ada, node_at(homes, "bob", folders[1], bobs) as bob:
        yield ada, bob


def told_at(homes: Homes, place: str) -> dict[str, str]:
    """Settings with which a node there tells its router's address to others."""
    return {"PEER_PORT": str(FORWARDED), "PEER_ADDRESS": f"{homes.outer_address(place)}:{FORWARDED}"}


def joined(ada: NodeThere, bob: NodeThere, *options: str) -> str:
    """Bob joins by ada's invite; what `join` said."""
    invite = ada.command("invite", *options)
    assert invite.returncode == 0, invite.stderr
    done = bob.command("join", invite.stdout.strip())
    assert done.returncode == 0, done.stderr + bob.log.read_text()[-2000:]
    return done.stdout


def ask(node: NodeThere, peer: NodeThere) -> None:
    """This peer alone has a model, and answers."""
    wait_until(lambda: servers_of(node, "masa-demo"))
    with answered(node, "masa-demo", {"stream": True}) as answer:
        assert (answer.status, answer.headers["X-Masa-Served-By"]) == (200, node_id(peer))
        assert answer.readline().startswith(b"data: ")


def doctor(node: NodeThere) -> str:
    return node.command("doctor").stdout
