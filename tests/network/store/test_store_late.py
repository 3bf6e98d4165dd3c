"""A store whose file could not be opened at the start: opened later, nothing of either side is lost."""

import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from masa_node.network.links.peer_book import MembershipLevel, PeerBook, PeerRecord
from masa_node.network.store import store as store_module
from masa_node.network.store.commands import Verb
from masa_node.network.store.rows import KeptInvite, KeptVoucher
from masa_node.network.store.store import FILE_NAME, Store
from masa_node.network.transport.interfaces import NodeId
from masa_node.storage import database as database_module

AT = 1_700_000_000
HASH = b"h" * 32
A, B, C = (NodeId(letter * 64) for letter in "abc")


async def opened_in_memory(masa_dir: Path) -> Store:
    """A folder stands where the file has to be."""
    (masa_dir / FILE_NAME).mkdir()
    with capture_logs():
        store = await Store.open(masa_dir)
    assert not store.is_kept
    return store


async def late(store: Store, masa_dir: Path, before: str = "") -> None:
    """The file can be opened now; it is the one called `before`, or a new one."""
    (masa_dir / FILE_NAME).rmdir()
    if before:
        (masa_dir / before).rename(masa_dir / FILE_NAME)
    with capture_logs() as lines:
        assert await store.reopen()
    assert [line["event"] for line in lines] == ["what the network reports is saved again"]
    assert store.is_kept


async def test_it_stays_in_memory_while_the_file_cannot_be_opened(tmp_path: Path) -> None:
    store = await opened_in_memory(tmp_path)
    assert not await store.reopen()
    assert not await store.catch_up()
    assert not store.is_kept
    await store.save([PeerRecord(A, MembershipLevel.LISTED)], [])
    assert await store.load() == [PeerRecord(A, MembershipLevel.LISTED)]
    await store.close()
    assert not await store.reopen()


async def test_what_happened_meanwhile_is_written_when_it_can_be_opened(tmp_path: Path) -> None:
    store = await opened_in_memory(tmp_path)
    assert not await store.save([PeerRecord(A, MembershipLevel.LISTED), PeerRecord(B, MembershipLevel.HEARD)], [])
    assert not await store.save([PeerRecord(C, MembershipLevel.INVITED)], [B])
    assert not await store.set_value("node_id", b"old")
    assert not await store.set_value("node_id", b"new")
    assert not await store.keep_voucher(KeptVoucher(A, b"word", AT + 9))
    await late(store, tmp_path)
    assert await store.catch_up()
    assert not store.unsaved
    assert not store.postponed
    await store.close()
    again = await Store.open(tmp_path)
    assert {record.node_id for record in await again.load()} == {A, C}
    assert await again.value("node_id") == b"new"
    assert [voucher.by for voucher in await again.vouchers(AT)] == [A]
    await again.close()


async def test_a_block_that_the_file_held_is_a_block_again_and_who_was_forgotten_stays_so(tmp_path: Path) -> None:
    file = await Store.open(tmp_path)
    kept = [
        PeerRecord(A, MembershipLevel.BLOCKED),
        PeerRecord(B, MembershipLevel.LISTED),
        PeerRecord(C, MembershipLevel.INVITED),
    ]
    await file.save(kept, [])
    await file.close()
    (tmp_path / FILE_NAME).rename(tmp_path / "away")
    store = await opened_in_memory(tmp_path)
    book = PeerBook(is_open=True)
    book.admit(A, MembershipLevel.OPEN, None, AT)
    book.linked(A, AT)
    book.admit(B, MembershipLevel.OPEN, None, AT)
    book.admit(C, MembershipLevel.OPEN, None, AT)
    await store.save(*book.take_changes())
    book.forget(C)
    await store.save(*book.take_changes())
    await late(store, tmp_path, "away")
    book.remember(await store.load_missed())
    assert book.is_blocked(A)
    assert book.get(C) is None
    assert await store.save(*book.take_changes())
    assert await store.catch_up()
    assert {each.node_id: each.membership for each in await store.load()} == {
        A: MembershipLevel.BLOCKED,
        B: MembershipLevel.LISTED,
    }
    await store.close()


async def test_commands_and_invites_of_the_file_are_seen_once_it_is_open(tmp_path: Path) -> None:
    file = await Store.open(tmp_path)
    await file.close()
    (tmp_path / FILE_NAME).rename(tmp_path / "away")
    store = await opened_in_memory(tmp_path)
    await store.changed()
    assert not await store.use_invite(HASH, A, AT)
    (tmp_path / FILE_NAME).rmdir()
    (tmp_path / "away").rename(tmp_path / FILE_NAME)
    other_process = await Store.open(tmp_path)
    await other_process.add_invite(KeptInvite(HASH, AT, AT + 100, 1))
    await other_process.add_command(Verb.BLOCK, B, AT)
    await other_process.close()
    with capture_logs():
        assert await store.reopen()
    assert await store.changed()
    assert [command.argument for command in await store.pending_commands()] == [B]
    assert await store.use_invite(HASH, A, AT)
    assert not await store.use_invite(HASH, C, AT)
    await store.close()


async def test_an_invite_spent_in_memory_is_spent_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await Store.open(tmp_path)
    await file.add_invite(KeptInvite(HASH, AT, AT + 100, 1))
    await file.close()
    with monkeypatch.context() as full, capture_logs():
        full.setattr(database_module, "_open_in_turn", _full_disk)
        store = await Store.open(tmp_path)  # read, but not to be written
    assert not store.is_kept
    assert await store.use_invite(HASH, A, AT)
    with capture_logs():
        assert await store.reopen()
    assert await store.catch_up()
    assert not await store.use_invite(HASH, B, AT)
    assert await store.use_invite(HASH, A, AT)
    await store.close()


def _full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_what_a_failing_disk_did_not_take_is_written_without_a_further_change(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.database.write(lambda it: it.execute("PRAGMA query_only = ON"))
    with capture_logs():
        assert not await store.save([PeerRecord(A, MembershipLevel.LISTED)], [])
        assert not await store.set_value("node_id", b"me")
        assert not await store.catch_up()
    await store.database.read(lambda it: it.execute("PRAGMA query_only = OFF"))
    assert await store.catch_up()
    assert await store.load() == [PeerRecord(A, MembershipLevel.LISTED)]
    assert await store.value("node_id") == b"me"
    await store.close()


async def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_LATER", 3)
    store = await opened_in_memory(tmp_path)
    for number in range(9):
        await store.set_value(f"value {number}", b"")
    assert list(store.postponed) == [("value", f"value {number}") for number in (6, 7, 8)]
    await store.close()
