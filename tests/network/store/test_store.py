"""What is remembered: it survives kill -9, is bounded, and is checked when it comes back.

Covers: `schema`.
"""

import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from masa_node.network.links.peer_book import MAX_PEERS, MembershipLevel, PeerBook, PeerRecord
from masa_node.network.links.vouchers import MAX_VOUCHER_BYTES
from masa_node.network.store import store as store_module
from masa_node.network.store.commands import MAX_ARGUMENT_CHARS, CommandState, Verb
from masa_node.network.store.rows import MAX_NOTE_CHARS, MAX_USES
from masa_node.network.store.schema import MIGRATIONS
from masa_node.network.store.store import (
    FILE_NAME,
    MAX_FINISHED_COMMANDS,
    MAX_KEPT_VOUCHERS,
    MAX_PENDING_COMMANDS,
    MAX_READING_BYTES,
    MAX_READINGS,
    MAX_RECORD_BYTES,
    MAX_VALUE_BYTES,
    MAX_VALUES,
    KeptInvite,
    KeptVoucher,
    Store,
)
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.storage.database import Database, Job, StoreFailed
from tests.processes import running

AT = 1_700_000_000
HASH = b"h" * 32


def peer(number: int) -> NodeId:
    return NodeId(f"{number:064x}")


A, B, C = peer(1), peer(2), peer(3)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path)
    yield opened
    await opened.close()


def on_its_thread(store: Store, sql: str) -> None:
    connection, thread = store.database.connection, store.database.thread
    assert thread is not None
    thread.submit(lambda: connection.execute(sql)).result()


def outside(path: Path, sql: str, *values: object) -> None:
    """Another program writes into the file."""
    with closing(sqlite3.connect(path / FILE_NAME)) as other, other:
        other.execute(sql, values)


# ---- peers ----


async def test_peers_are_remembered_whole(tmp_path: Path) -> None:
    records = [
        PeerRecord(
            A,
            MembershipLevel.LISTED,
            ("192.0.2.1:1", "[2001:db8::1]:2"),
            "https://relay",
            "Änne",
            True,  # noqa: FBT003
            1,
            2,
            3,
        ),
        PeerRecord(B, MembershipLevel.BLOCKED, membership_before=MembershipLevel.VOUCHED),
    ]
    store = await Store.open(tmp_path)
    assert await store.save(records, [])
    await store.close()
    store = await Store.open(tmp_path)
    assert sorted(await store.load(), key=str) == sorted(records, key=str)
    assert await store.save([], [A])
    assert await store.load() == records[1:]
    await store.close()


async def test_a_full_book_is_remembered(store: Store) -> None:
    book = PeerBook()
    for number in range(MAX_PEERS):
        book.heard(PeerAddress(peer(number), ("192.0.2.1:1",)), "name", AT)
    assert await store.save(*book.take_changes())
    again = PeerBook(await store.load())
    assert sorted(again.all(), key=str) == sorted(book.all(), key=str)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"not json",
        b"[" * 100_000,
        json.dumps({"node_id": A}).encode(),
        json.dumps({"node_id": A, "membership": "king"}).encode(),
        json.dumps({"node_id": B, "membership": "listed"}).encode(),  # another's record in this one's place
        json.dumps({"node_id": A, "membership": "listed", "addresses": ["x" * 65]}).encode(),
        json.dumps({"node_id": A, "membership": "listed", "name": "x" * 65}).encode(),
        json.dumps({"node_id": A, "membership": "listed", "last_seen_at_unix_s": -1}).encode(),
        json.dumps({"node_id": A, "membership": "listed", "more": "x" * MAX_RECORD_BYTES}).encode(),
        json.dumps({"node_id": A, "membership": "listed"}),  # as text
        17,
    ],
)
async def test_a_record_that_does_not_read_is_left_out_and_the_others_are_not(
    store: Store, tmp_path: Path, record: object
) -> None:
    await store.save([PeerRecord(B, MembershipLevel.LISTED)], [])
    outside(tmp_path, "INSERT INTO peers (node_id, record) VALUES (?, ?)", A, record)
    with capture_logs():
        assert [read.node_id for read in await store.load()] == [B]


async def test_what_a_newer_version_added_to_a_record_does_not_hurt(store: Store, tmp_path: Path) -> None:
    newer = json.dumps({"node_id": A, "membership": "listed", "mood": "fine"}).encode()
    outside(tmp_path, "INSERT INTO peers (node_id, record) VALUES (?, ?)", A, newer)
    assert await store.load() == [PeerRecord(A, MembershipLevel.LISTED)]


@given(rows=st.lists(st.tuples(st.binary(max_size=70), st.binary(max_size=90) | st.integers(0, 9)), max_size=5))
def test_garbage_in_every_table_is_left_out(rows: list[tuple[bytes, object]]) -> None:
    store = Store.in_memory()
    connection = store.database.connection
    connection.execute("PRAGMA foreign_keys=OFF")
    with capture_logs():
        for number, (key, value) in enumerate(rows):
            connection.execute("INSERT OR REPLACE INTO peers VALUES (cast(? AS TEXT), ?)", (key, value))
            connection.execute("INSERT OR REPLACE INTO kept VALUES ('name', ?)", (value,))
            connection.execute("INSERT OR REPLACE INTO vouchers VALUES (cast(? AS TEXT), ?, ?)", (key, value, key))
            connection.execute("INSERT OR REPLACE INTO invites VALUES (?, ?, ?, ?, ?)", (key, value, value, key, value))
            connection.execute(
                "INSERT OR REPLACE INTO readings (owner, reading) VALUES (cast(? AS TEXT), ?)", (key, value)
            )
            connection.execute(
                "INSERT INTO commands VALUES (?, cast(? AS TEXT), ?, ?, 'pending', ?)",
                (number + 1, key, value, key, key),
            )
        drive(check_reads(store))


async def check_reads(store: Store) -> None:
    assert await store.load() == []
    assert all(isinstance(voucher, KeptVoucher) for voucher in await store.vouchers(0))
    assert all(isinstance(invite, KeptInvite) for invite in await store.invites())
    assert await store.pending_commands() == []
    assert isinstance(await store.value("name"), bytes | None)
    assert all(isinstance(reading, bytes) for reading in await store.load_readings())
    await store.close()


def drive(coroutine: object) -> None:
    """A store in memory never waits."""
    with pytest.raises(StopIteration):
        coroutine.send(None)  # type: ignore[attr-defined]


# ---- kill -9 ----

WRITER = """
import asyncio, sys
from pathlib import Path
from masa_node.network.links.peer_book import PeerRecord, MembershipLevel
from masa_node.network.store.store import Store

async def main():
    store = await Store.open(Path(sys.argv[1]))
    number = int(sys.argv[2])
    while True:
        number += 1
        records = [PeerRecord(f"{number:063x}{half}", MembershipLevel.LISTED, name="x" * 60) for half in "ab"]
        assert await store.save(records, [])
        print(number, flush=True)

asyncio.run(main())
"""


async def test_what_was_written_survives_kill_9_and_nothing_is_half_there(tmp_path: Path) -> None:
    last = 0
    for killed_after in (1, 7, 40, 3, 15):
        with running([sys.executable, "-c", WRITER, str(tmp_path), str(last)], stdout=subprocess.PIPE) as node:
            assert node.stdout is not None
            for _ in range(killed_after):
                last = int(node.stdout.readline())
            node.kill()
            last = max([last, *(int(line) for line in node.stdout.read().split(b"\n")[:-1])])
        with capture_logs() as lines:
            store = await Store.open(tmp_path)
        assert lines == []  # neither damaged nor out of reach
        numbers = [int(record.node_id[:63], 16) for record in await store.load()]
        await store.close()
        assert set(range(1, last + 1)) <= set(numbers) <= set(range(1, last + 2))  # one may be written and not yet told
        assert all(numbers.count(number) == 2 for number in set(numbers))
        last = max(numbers)
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
            assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# ---- a disk that fails ----


async def test_a_full_disk_is_warned_of_once_and_what_waited_is_written_later(store: Store) -> None:
    await store.save([PeerRecord(B, MembershipLevel.LISTED), PeerRecord(C, MembershipLevel.LISTED)], [])
    on_its_thread(store, "PRAGMA query_only = ON")
    with capture_logs() as lines:
        assert not await store.save([PeerRecord(A, MembershipLevel.HEARD)], [B])
        assert not await store.save([PeerRecord(A, MembershipLevel.LISTED)], [])
        assert not await store.set_value("name", b"value")
        assert not await store.use_invite(HASH, A, AT)
    assert [line["log_level"] for line in lines] == ["warning"]
    assert {record.node_id for record in await store.load()} == {B, C}
    on_its_thread(store, "PRAGMA query_only = OFF")
    assert await store.save([], [])
    assert sorted(await store.load(), key=str) == [
        PeerRecord(A, MembershipLevel.LISTED),
        PeerRecord(C, MembershipLevel.LISTED),
    ]
    on_its_thread(store, "PRAGMA query_only = ON")
    with capture_logs() as lines:
        assert not await store.set_value("name", b"value")
    assert len(lines) == 1  # it worked in between, so this is news


async def test_a_change_that_comes_while_another_is_written_is_written_too() -> None:
    store = Store.in_memory()
    write = store.database.write

    async def slowly(job: Job[bool]) -> bool:
        done = await write(job)
        store.unsaved[A] = PeerRecord(A, MembershipLevel.LISTED)  # what a save that comes meanwhile does first
        return done

    store.database.write = slowly  # type: ignore[method-assign,assignment]
    await store.save([PeerRecord(A, MembershipLevel.HEARD)], [])
    store.database.write = write  # type: ignore[method-assign]
    await store.save([], [])
    assert await store.load() == [PeerRecord(A, MembershipLevel.LISTED)]
    await store.close()


async def test_a_write_that_finds_no_room_on_the_disk_changes_nothing(store: Store) -> None:
    await store.save([PeerRecord(A, MembershipLevel.LISTED)], [])
    on_its_thread(store, "PRAGMA max_page_count = 1")  # SQLite may use no page more: it says SQLITE_FULL
    many = [PeerRecord(peer(number), MembershipLevel.LISTED, name="x" * 60) for number in range(100, 2_000)]
    with capture_logs() as lines:
        assert not await store.save(many, [A])
    assert "full" in lines[0]["why"]
    assert await store.load() == [PeerRecord(A, MembershipLevel.LISTED)]


async def test_what_waits_for_the_disk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_UNSAVED", 3)
    store = Store.in_memory()
    store.database.connection.execute("PRAGMA query_only = ON")
    with capture_logs():
        for number in range(10):
            await store.save([PeerRecord(peer(number), MembershipLevel.HEARD)], [])
    assert list(store.unsaved) == [peer(7), peer(8), peer(9)]
    await store.close()


async def test_what_a_person_asked_for_and_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with capture_logs() as lines:
        store = await Store.open(tmp_path)
    assert [line["log_level"] for line in lines] == ["warning"]
    assert not store.is_kept
    for asked in (
        store.add_invite(KeptInvite(HASH, AT, AT + 1, 1)),
        store.revoke_invite(HASH),
        store.add_command(Verb.FORGET, A, AT),
    ):
        with pytest.raises(StoreFailed):
            await asked
    assert not await store.save([PeerRecord(A, MembershipLevel.LISTED)], [])
    assert await store.load() == [PeerRecord(A, MembershipLevel.LISTED)]  # the node goes on with what it has
    await store.close()


# ---- values ----


async def test_a_value_is_kept_and_replaced(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    assert await store.value("peer_port") is None
    assert await store.set_value("peer_port", b"1")
    assert await store.set_value("peer_port", b"4001")
    await store.close()
    store = await Store.open(tmp_path)
    assert await store.value("peer_port") == b"4001"
    await store.close()


async def test_values_are_bounded(store: Store) -> None:
    with pytest.raises(ValueError, match="bytes"):
        await store.set_value("large", b"x" * (MAX_VALUE_BYTES + 1))
    for number in range(MAX_VALUES):
        await store.set_value(str(number), b"")
    with pytest.raises(ValueError, match="values"):
        await store.set_value("one more", b"")
    assert await store.value("one more") is None
    assert await store.set_value("0", b"still")


# ---- vouchers ----


async def test_the_newest_voucher_of_each_member_is_kept_while_it_is_in_force(store: Store) -> None:
    await store.keep_voucher(KeptVoucher(A, b"old", AT + 10))
    await store.keep_voucher(KeptVoucher(A, b"new", AT + 20))
    await store.keep_voucher(KeptVoucher(B, b"other", AT + 30))
    assert [(each.by, each.signed) for each in await store.vouchers(AT)] == [(B, b"other"), (A, b"new")]
    assert [each.by for each in await store.vouchers(AT + 20)] == [B]


async def test_vouchers_are_bounded_and_those_that_end_first_go(store: Store) -> None:
    for number in range(MAX_KEPT_VOUCHERS + 5):
        await store.keep_voucher(KeptVoucher(peer(number), b"v" * MAX_VOUCHER_BYTES, AT + number + 1))
    assert {each.by for each in await store.vouchers(0)} == {peer(number) for number in range(5, MAX_KEPT_VOUCHERS + 5)}


# ---- readings of the chain ----


async def test_the_newest_reading_of_each_owner_is_remembered(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    assert await store.load_readings() == []
    await store.keep_readings({"0xA": b"old", "0xB": b"other"})
    await store.keep_readings({"0xA": b"new"})
    await store.keep_readings({})
    await store.close()
    store = await Store.open(tmp_path)
    assert await store.load_readings() == [b"other", b"new"]
    await store.close()


async def test_readings_are_bounded_and_the_oldest_go(store: Store) -> None:
    await store.keep_readings({"first": b"first", "second": b"second"})
    await store.keep_readings({str(number): b"%d" % number for number in range(MAX_READINGS - 2)})
    await store.keep_readings({"first": b"read again"})
    assert len(await store.load_readings()) == MAX_READINGS
    await store.keep_readings({"one more": b"one more"})
    readings = await store.load_readings()
    assert (len(readings), readings[0], readings[-2:]) == (MAX_READINGS, b"0", [b"read again", b"one more"])
    await store.keep_readings({f"more {number}": b"more" for number in range(MAX_READINGS + 10)})
    assert await store.load_readings() == [b"more"] * MAX_READINGS


async def test_a_reading_too_large_is_not_kept_nor_loaded(store: Store, tmp_path: Path) -> None:
    await store.keep_readings({"0xA": b"x" * (MAX_READING_BYTES + 1), "0xB": b"x" * MAX_READING_BYTES})
    sql = "INSERT INTO readings (owner, reading) VALUES (?, ?)"
    outside(tmp_path, sql, "0xC", b"x" * (MAX_READING_BYTES + 1))
    outside(tmp_path, sql, "0xD", "text")
    assert await store.load_readings() == [b"x" * MAX_READING_BYTES]


async def test_readings_that_cannot_be_written_or_read_raise_nothing(store: Store, tmp_path: Path) -> None:
    await store.keep_readings({"0xA": b"kept"})
    on_its_thread(store, "PRAGMA query_only = ON")
    with capture_logs() as lines:
        await store.keep_readings({"0xA": b"lost", "0xB": b"lost"})
    assert [line["log_level"] for line in lines] == ["warning"]
    assert await store.load_readings() == [b"kept"]
    outside(tmp_path, "DROP TABLE readings")
    with capture_logs():
        assert await store.load_readings() == []
        await store.keep_readings({"0xA": b"lost"})


async def test_a_file_of_the_first_form_gets_its_place_for_readings_and_loses_nothing(tmp_path: Path) -> None:
    first = Store(await Database.open(tmp_path / FILE_NAME, MIGRATIONS[:1]))
    await first.save([PeerRecord(A, MembershipLevel.LISTED, ("192.0.2.1:1",), name="Änne")], [])
    await first.set_value("peer_port", b"4001")
    await first.keep_voucher(KeptVoucher(B, b"signed", AT + 10))
    await first.add_invite(KeptInvite(HASH, AT, AT + 100, uses=2, note="for the lab"))
    await first.use_invite(HASH, C, AT)
    command_id = await first.add_command(Verb.BLOCK, B, AT)
    with capture_logs():  # it has no slot for them
        await first.keep_readings({"0xA": b"reading"})
        assert await first.load_readings() == []
    await first.close()
    with capture_logs() as lines:
        store = await Store.open(tmp_path)
    assert (lines, store.is_kept) == ([], True)
    assert await store.load() == [PeerRecord(A, MembershipLevel.LISTED, ("192.0.2.1:1",), name="Änne")]
    assert await store.value("peer_port") == b"4001"
    assert await store.vouchers(AT) == [KeptVoucher(B, b"signed", AT + 10)]
    assert await store.invites() == [KeptInvite(HASH, AT, AT + 100, 2, "for the lab", used=1)]
    assert [command.id for command in await store.pending_commands()] == [command_id]
    await store.keep_readings({"0xA": b"reading"})
    assert await store.load_readings() == [b"reading"]
    await store.close()


# ---- invites ----


async def test_an_invite_lets_as_many_nodes_in_as_it_has_uses(store: Store) -> None:
    await store.add_invite(KeptInvite(HASH, AT, AT + 100, uses=2, note="for the lab"))
    assert await store.use_invite(HASH, A, AT)
    assert await store.use_invite(HASH, A, AT + 1)  # the same node again: its answer was lost on the way, say
    assert await store.use_invite(HASH, B, AT)
    assert not await store.use_invite(HASH, C, AT)
    assert await store.use_invite(HASH, B, AT)
    assert await store.invites() == [KeptInvite(HASH, AT, AT + 100, 2, "for the lab", used=2)]


async def test_an_invite_lets_nobody_in_once_it_has_ended(store: Store) -> None:
    await store.add_invite(KeptInvite(HASH, AT, AT + 100, uses=5))
    assert await store.use_invite(HASH, A, AT + 99)
    assert not await store.use_invite(HASH, B, AT + 100)
    assert not await store.use_invite(HASH, A, AT + 100)


async def test_an_unknown_token_lets_nobody_in(store: Store) -> None:
    assert not await store.use_invite(HASH, A, AT)


async def test_a_revoked_invite_lets_nobody_in(store: Store) -> None:
    await store.add_invite(KeptInvite(HASH, AT, AT + 100, uses=5))
    await store.use_invite(HASH, A, AT)
    assert await store.revoke_invite(HASH)
    assert not await store.use_invite(HASH, A, AT)
    assert not await store.revoke_invite(HASH)
    assert await store.invites() == []
    await store.add_invite(KeptInvite(HASH, AT, AT + 100, uses=5))
    assert [invite.used for invite in await store.invites()] == [0]


@pytest.mark.parametrize(
    "invite",
    [
        KeptInvite(b"short", AT, AT + 1, 1),
        KeptInvite(HASH, AT, AT + 1, 0),
        KeptInvite(HASH, AT, AT + 1, MAX_USES + 1),
        KeptInvite(HASH, AT, 1 << 41, 1),
        KeptInvite(HASH, AT, AT + 1, 1, "x" * (MAX_NOTE_CHARS + 1)),
    ],
)
async def test_an_invite_that_could_not_be_read_again_is_not_kept(store: Store, invite: KeptInvite) -> None:
    with pytest.raises(StoreFailed, match="cannot be stored"):
        await store.add_invite(invite)
    assert not await store.use_invite(invite.token_hash, A, AT)


async def test_two_processes_never_spend_one_use_twice(store: Store, tmp_path: Path) -> None:
    other = await Store.open(tmp_path)
    await store.add_invite(KeptInvite(HASH, AT, AT + 100, uses=1))
    assert await store.use_invite(HASH, A, AT)
    assert not await other.use_invite(HASH, B, AT)
    assert await other.use_invite(HASH, A, AT)
    await other.close()


async def test_invites_are_bounded_and_ended_ones_make_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_INVITES", 2)
    for number in range(2):
        await store.add_invite(KeptInvite(bytes([number]) * 32, AT, AT + 10, 1))
    with pytest.raises(StoreFailed, match="Revoke some"):
        await store.add_invite(KeptInvite(HASH, AT, AT + 10, 1))
    await store.add_invite(KeptInvite(HASH, AT + 10, AT + 20, 1))
    assert [invite.token_hash for invite in await store.invites()] == [HASH]


# ---- commands ----


async def test_a_command_is_seen_by_the_node_and_its_answer_by_the_command(store: Store, tmp_path: Path) -> None:
    other_process = await Store.open(tmp_path)
    assert await store.changed()  # what was left while no node ran
    assert not await store.changed()
    command_id = await other_process.add_command(Verb.BLOCK, A, AT)
    assert await store.changed()
    assert not await store.changed()
    (command,) = await store.pending_commands()
    assert (command.id, command.verb, command.argument, command.state) == (
        command_id,
        Verb.BLOCK,
        A,
        CommandState.PENDING,
    )
    assert await store.finish_command(command_id, CommandState.DONE, "It is blocked.")
    assert not await store.changed()  # its own writing
    assert await store.pending_commands() == []
    answered = await other_process.command(command_id)
    assert answered is not None
    assert (answered.state, answered.words) == (CommandState.DONE, "It is blocked.")
    await other_process.close()


async def test_a_command_added_in_the_same_process_is_a_change_too() -> None:
    store = Store.in_memory()
    await store.changed()
    await store.add_command(Verb.BLOCK, A, AT)
    assert await store.changed()
    assert not await store.changed()
    await store.close()


async def test_the_token_in_a_link_is_not_kept_once_it_was_used(store: Store, tmp_path: Path) -> None:
    command_id = await store.add_command(Verb.JOIN, "masa1-secret-token", AT)
    await store.finish_command(command_id, CommandState.DONE, "Joined.")
    await store.close()
    assert all(b"secret-token" not in file.read_bytes() for file in tmp_path.iterdir())  # noqa: ASYNC240


async def test_commands_are_bounded(store: Store) -> None:
    with pytest.raises(StoreFailed, match="long"):
        await store.add_command(Verb.JOIN, "x" * (MAX_ARGUMENT_CHARS + 1), AT)
    ids = [await store.add_command(Verb.BLOCK, A, AT) for _ in range(MAX_PENDING_COMMANDS)]
    with pytest.raises(StoreFailed, match="Start it"):
        await store.add_command(Verb.BLOCK, A, AT)
    for command_id in ids:
        await store.finish_command(command_id, CommandState.FAILED, "x" * 5_000)
    for _ in range(10):
        command_id = await store.add_command(Verb.BLOCK, A, AT)
        await store.finish_command(command_id, CommandState.DONE, "")
    answered = [command for command in range(1, command_id + 1) if await store.command(command) is not None]
    assert len(answered) == MAX_FINISHED_COMMANDS
    assert command_id in answered
    oldest = await store.command(answered[0])
    assert oldest is not None
    assert len(oldest.words) == 1_000


async def test_a_forgotten_peer_is_not_to_be_found_in_the_file(store: Store, tmp_path: Path) -> None:
    await store.save(
        [PeerRecord(peer(number), MembershipLevel.HEARD, name=f"secret-{number}") for number in range(500)], []
    )
    await store.save([], [peer(number) for number in range(100, 400)])
    await store.close()
    stored = (tmp_path / FILE_NAME).read_bytes()
    assert b"secret-99" in stored
    assert b"secret-200" not in stored


@pytest.mark.parametrize("text", ["'; DROP TABLE peers; --", '"', "\0", "%s", "?1"])
async def test_text_is_never_sql(store: Store, text: str) -> None:
    await store.save([PeerRecord(A, MembershipLevel.LISTED, name=text)], [NodeId(text)])
    await store.set_value(text, text.encode())
    await store.add_invite(KeptInvite(HASH, AT, AT + 9, 1, note=text))
    assert not await store.use_invite(text.encode(), NodeId(text), AT)
    command_id = await store.add_command(Verb.JOIN, text, AT)
    command = await store.command(command_id)
    assert command is not None
    assert command.argument == text
    assert [record.name for record in await store.load()] == [text]
    assert await store.value(text) == text.encode()
    assert [invite.note for invite in await store.invites()] == [text]


async def test_who_was_vouched_for_before_it_was_kept_by_whom_is_let_in_again(tmp_path: Path) -> None:
    old = await Database.open(tmp_path / FILE_NAME, MIGRATIONS[:2])
    rows = [
        ("a" * 64, b'{"node_id":"%b","membership":"vouched"}' % (b"a" * 64)),
        ("b" * 64, b'{"node_id":"%b","membership":"invited","name":"vouched"}' % (b"b" * 64)),
    ]
    await old.write(lambda it: it.executemany("INSERT INTO peers (node_id, record) VALUES (?, ?)", rows))
    await old.close()
    store = await Store.open(tmp_path)
    assert [record.node_id for record in await store.load()] == ["b" * 64]
    vouched = PeerRecord(NodeId("c" * 64), MembershipLevel.VOUCHED, vouched_by=NodeId("b" * 64))
    assert await store.save([vouched], [])
    await store.close()
    again = await Store.open(tmp_path)
    assert vouched in await again.load()
    await again.close()
