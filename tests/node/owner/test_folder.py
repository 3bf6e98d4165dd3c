"""What a command finds out of the folder of a node, and how long it waits for one."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from masa_node.chat.owner_errors import NoAddress, NotDone
from masa_node.network.store.commands import CommandState, Verb
from masa_node.network.store.store import Store
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.node.owner import folder
from masa_node.node.owner.folder import CommandedNode, kept_url, known_address, own_id
from masa_node.storage.database import StoreFailed

ADDRESS = PeerAddress(NodeId("0e" * 32), ("203.0.113.7:4433",))


async def test_what_is_not_known_is_empty_and_what_is_odd_counts_as_unknown() -> None:
    store = Store.in_memory()
    assert (await own_id(store), await kept_url(store), await known_address(store)) == ("", "", None)
    for name, value in (("node_id", b"0e"), ("url", b"https://\n"), ("address", b"\x81")):
        await store.set_value(name, value)
    assert (await own_id(store), await kept_url(store), await known_address(store)) == ("", "", None)
    await store.set_value("address", msgspec.msgpack.encode(ADDRESS))
    await store.set_value("url", b"http://127.0.0.1:8080")
    assert (await known_address(store), await kept_url(store)) == (ADDRESS, "http://127.0.0.1:8080")


async def test_a_command_waits_for_the_node_says_so_and_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "ANSWER_WITHIN_S", 0.05)
    shown: list[str] = []

    @contextmanager
    def waiting(words: str) -> Generator[None]:
        shown.append(words)
        yield

    node = CommandedNode(tmp_path, lambda: True, waiting)
    async with node.store() as store:
        with pytest.raises(NotDone, match="did not answer within 0 s"):
            await node.have(store, Verb.CHECK, ADDRESS.node_id, "Look.")
        command_id = await store.add_command(Verb.CHECK, ADDRESS.node_id, time.time())
        await store.finish_command(command_id, CommandState.FAILED, "No.")
        with pytest.raises(NotDone, match=r"^No\."):
            await node.answer(store, command_id, "Look.")
        with pytest.raises(NoAddress, match="did not go on the network"):
            await node.needed_address(store, is_running=True)
        with pytest.raises(NoAddress, match="masa-node up"):
            await node.needed_address(store, is_running=False)
    assert shown == ["Waiting for the node ..."] * 2


async def test_a_folder_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "network.sqlite3").mkdir()
    with pytest.raises(StoreFailed, match="cannot be read or written"):
        async with CommandedNode(tmp_path, lambda: False).store():
            pass
