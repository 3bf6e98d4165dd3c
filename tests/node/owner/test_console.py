"""Links to the console, as an owner's command gets them from a running node."""

import asyncio
import time
from pathlib import Path

import pytest

from masa_node.accounts.sessions import Sessions
from masa_node.chat.owner_errors import NotDone
from masa_node.network.store.commands import CommandState
from masa_node.network.store.store import Store
from masa_node.node.owner import console
from masa_node.node.owner.console import make_console_link
from masa_node.node.owner.folder import CommandedNode
from masa_node.node.peering import console_desk
from masa_node.node.peering.console_desk import ConsoleDesk


async def test_the_link_holds_a_token_that_the_node_takes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_desk, "LOOK_EVERY_S", 0.01)
    sessions = Sessions()
    node = CommandedNode(tmp_path, lambda: False)
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(ConsoleDesk(sessions, "http://127.0.0.1:1", is_on=True).keep(tmp_path))
        made = await make_console_link(node)
        keeping.cancel()
    before, token = made.link.split("#token=")
    assert (before, made.expires_at_unix_s <= time.time() + 60) == ("http://127.0.0.1:1/console/", True)
    assert len(token) == 43
    sessions.exchange(token)
    async with node.store() as store:
        assert token.encode() not in (tmp_path / "network.sqlite3").read_bytes()
        assert await store.pending_commands() == []


async def test_where_nobody_answers_it_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "ALONE_WITHIN_S", 0.01)
    node = CommandedNode(tmp_path, lambda: False)
    with pytest.raises(NotDone, match="masa-node up"):
        await make_console_link(node)
    async with node.store() as store:
        assert await store.pending_commands() == []


async def test_a_refusal_comes_in_the_nodes_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_desk, "LOOK_EVERY_S", 0.01)
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(ConsoleDesk(Sessions(), "", is_on=False).keep(tmp_path))
        with pytest.raises(NotDone, match="CONSOLE=off"):
            await make_console_link(CommandedNode(tmp_path, lambda: False))
        keeping.cancel()
    store = await Store.open(tmp_path)
    try:
        (state,) = await store.database.read(lambda db: db.execute("SELECT state FROM commands").fetchone())
    finally:
        await store.close()
    assert state == CommandState.FAILED
