"""What a node remembers of its network between two runs: MASA_DIR/network.sqlite3. Rows are checked as foreign input.

Two processes use it: the running node, and commands (see `commands.py`). What the node does by itself never raises: it
logs once that the disk fails, goes on, and writes it later (`catch_up`). What a person asked for raises `StoreFailed`.
"""

import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self, TypeVar

import msgspec
import structlog

from masa_node.network.links.peer_book import MAX_BLOCKED, MAX_PEERS, PeerRecord
from masa_node.network.store.commands import MAX_ARGUMENT_CHARS, MAX_WORDS_CHARS, CommandState, OwnerCommand, Verb
from masa_node.network.store.rows import KeptInvite, KeptVoucher, Row, checked, record_of
from masa_node.network.store.schema import MIGRATIONS
from masa_node.network.transport.interfaces import NodeId
from masa_node.storage.database import Database, Job, StoreFailed

FILE_NAME = "network.sqlite3"
MAX_UNSAVED = MAX_PEERS + MAX_BLOCKED  # changes that wait for a disk that fails; the oldest go first
MAX_LATER = 1_000  # other changes that wait: a value, a voucher, a use of an invite each; the oldest go first
MAX_RECORD_BYTES = 4096  # a record with every field at its bound takes less
MAX_VALUES = 64  # names of values are in the code; a few are
MAX_VALUE_BYTES = 64 * 1024
MAX_KEPT_VOUCHERS = 32  # one of a few members is enough to be let in by all
MAX_INVITES = 1_000  # in force
MAX_PENDING_COMMANDS = 100  # a node that is off does not read them
MAX_FINISHED_COMMANDS = 100  # kept for commands that still wait
MAX_READINGS = 10_000  # owners of stake: as many as peers
MAX_READING_BYTES = 1024  # one with every number at its bound takes less

_COMMAND_FIELDS = ("id", "verb", "argument", "made_at_unix_s", "state", "words")
_COMMAND_COLUMNS = ", ".join(_COMMAND_FIELDS)

log = structlog.get_logger()
T = TypeVar("T")


class Store:
    """Open it once a process. Every method may be called from one event loop, in any order, at once."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.unsaved: dict[NodeId, PeerRecord | None] = {}  # waits to be written; None: forgotten
        self.postponed: dict[tuple[str, ...], Job[bool]] = {}  # what could not be kept, by what it is about
        self._version: object = None
        self._has_own_command = False
        self._is_failing = False

    @classmethod
    async def open(cls, masa_dir: Path) -> Self:
        """Open or make it. What cannot be opened is warned of, and a store in memory given instead: see `is_kept`.

        Raises `ConfigurationError` when a newer version of the program wrote it.
        """
        return cls(await Database.open(masa_dir / FILE_NAME, MIGRATIONS))

    @classmethod
    def in_memory(cls) -> Self:
        """One that forgets; needs no thread, so it works on virtual time."""
        return cls(Database.in_memory(MIGRATIONS))

    @property
    def is_kept(self) -> bool:
        """False when memory stands in for a file that could not be opened."""
        return self.database.is_kept

    async def reopen(self) -> bool:
        """Try once more to open the file that memory stands in for; True when it is open now.

        The caller then reads what it holds, and `catch_up` writes what happened meanwhile. Raises `ConfigurationError`.
        """
        if not await self.database.reopen():
            return False
        self._version = None
        self._is_failing = False
        log.warning("what the network reports is saved again", file=FILE_NAME)
        return True

    async def load_missed(self) -> list[PeerRecord]:
        """What the file holds, opened late, but for peers that were forgotten meanwhile."""
        return [each for each in await self.load() if self.unsaved.get(each.node_id, each) is not None]

    async def catch_up(self) -> bool:
        """Write what could not be kept before. False when something still waits."""
        if not self.is_kept:
            return False
        if self.unsaved and not await self.save([], []):
            return False
        for about, job in list(self.postponed.items()):
            await self._try(job, otherwise=False)
            if self._is_failing:
                return False
            if self.postponed.get(about) is job:  # unless it changed again meanwhile
                del self.postponed[about]
        return True

    async def close(self) -> None:
        """Write what waits and close the file; bounded in time. Idempotent."""
        await self.database.close()

    # ---- peers ----

    async def load(self) -> list[PeerRecord]:
        """Every peer's record. Those that cannot be read are left out, with a warning."""

        def job(connection: sqlite3.Connection) -> list[PeerRecord | None]:  # reads them too: 10 000 take 100 ms
            sql = "SELECT node_id, record FROM peers WHERE length(record) <= ? LIMIT ?"
            return [record_of(*row) for row in connection.execute(sql, (MAX_RECORD_BYTES, MAX_UNSAVED))]

        try:
            read = await self.database.read(job)
        except StoreFailed as exc:
            self._failed(exc)
            return []
        records = [record for record in read if record is not None]
        if len(records) < len(read):
            log.warning("remembered peers that cannot be read were left out", count=len(read) - len(records))
        return records

    async def save(self, changed: Collection[PeerRecord], gone: Collection[NodeId]) -> bool:
        """Keep what `PeerBook.take_changes` gave. False when it could not be: it is then tried again with the next."""
        fresh = {**{record.node_id: record for record in changed}, **dict.fromkeys(gone)}
        for node_id, record in fresh.items():
            self._note_unsaved(node_id, record)
        writing = dict(self.unsaved) if self.is_kept else fresh  # memory has the others already

        def job(connection: sqlite3.Connection) -> bool:
            puts = [(node_id, msgspec.json.encode(record)) for node_id, record in writing.items() if record is not None]
            drops = [(node_id,) for node_id, record in writing.items() if record is None]
            connection.executemany("INSERT OR REPLACE INTO peers (node_id, record) VALUES (?, ?)", puts)
            connection.executemany("DELETE FROM peers WHERE node_id = ?", drops)
            return True

        is_saved = await self._try(job, otherwise=False)
        if is_saved and self.is_kept:
            for node_id, written in writing.items():
                if self.unsaved.get(node_id) is written:  # unless it changed again meanwhile
                    self.unsaved.pop(node_id, None)
        return is_saved and self.is_kept

    # ---- single values ----

    async def value(self, name: str) -> bytes | None:
        """What was kept under this name; None when nothing was."""
        rows = await self._read("SELECT value FROM kept WHERE name = ?", name)
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    async def set_value(self, name: str, value: bytes) -> bool:
        """Keep it. False when it could not be. Raises `ValueError` beyond MAX_VALUE_BYTES or MAX_VALUES names."""
        if len(value) > MAX_VALUE_BYTES:
            raise ValueError(f"{name}: {len(value)} bytes")

        def job(connection: sqlite3.Connection) -> bool:
            connection.execute("INSERT OR REPLACE INTO kept (name, value) VALUES (?, ?)", (name, value))
            (count,) = connection.execute("SELECT count(*) FROM kept").fetchone()
            if count > MAX_VALUES:
                raise ValueError(f"{name}: {count} values")
            return True

        return await self._keep(("value", name), job)

    # ---- vouchers ----

    async def keep_voucher(self, voucher: KeptVoucher) -> bool:
        """Keep it instead of an older one of the same member. Beyond MAX_KEPT_VOUCHERS those that end first go."""

        def job(connection: sqlite3.Connection) -> bool:
            connection.execute(
                "INSERT OR REPLACE INTO vouchers (by, signed, expires_at_unix_s) VALUES (?, ?, ?)",
                (voucher.by, voucher.signed, voucher.expires_at_unix_s),
            )
            connection.execute(
                "DELETE FROM vouchers WHERE by NOT IN"
                " (SELECT by FROM vouchers ORDER BY expires_at_unix_s DESC LIMIT ?)",
                (MAX_KEPT_VOUCHERS,),
            )
            return True

        return await self._keep(("voucher", voucher.by), job)

    async def vouchers(self, at_unix_s: float) -> list[KeptVoucher]:
        """Those in force, the one that lasts longest first."""
        rows = await self._read(
            "SELECT by, signed, expires_at_unix_s FROM vouchers WHERE expires_at_unix_s > ?"
            " ORDER BY expires_at_unix_s DESC LIMIT ?",
            at_unix_s,
            MAX_KEPT_VOUCHERS,
        )
        return checked(KeptVoucher, ("by", "signed", "expires_at_unix_s"), rows)

    # ---- readings of the chain ----

    async def load_readings(self) -> list[bytes]:
        """What `keep_readings` kept, the oldest first."""
        sql = "SELECT reading FROM readings WHERE length(reading) <= ? ORDER BY number DESC LIMIT ?"
        rows = await self._read(sql, MAX_READING_BYTES, MAX_READINGS)
        return [row[0] for row in reversed(rows) if isinstance(row[0], bytes)]

    async def keep_readings(self, readings: Mapping[str, bytes]) -> None:
        """Keep these instead of older ones of the same owners. The oldest beyond MAX_READINGS go, larger ones too."""
        rows = [(owner, reading) for owner, reading in readings.items() if len(reading) <= MAX_READING_BYTES]

        def job(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO readings (owner, reading) VALUES (?, ?)", rows)
            connection.execute(
                "DELETE FROM readings WHERE number <="
                " (SELECT number FROM readings ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (MAX_READINGS,),
            )

        await self._try(job, otherwise=None)

    # ---- invites ----

    async def add_invite(self, invite: KeptInvite) -> None:
        """Keep it; those that ended before it was made go. Raises `StoreFailed`, also beyond a bound."""
        try:
            msgspec.convert(msgspec.structs.asdict(invite), KeptInvite)
        except msgspec.ValidationError as exc:
            raise StoreFailed(f"Such an invite cannot be stored: {exc}.") from exc

        def job(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM invites WHERE expires_at_unix_s <= ?", (invite.made_at_unix_s,))
            (count,) = connection.execute("SELECT count(*) FROM invites").fetchone()
            if count >= MAX_INVITES:
                raise StoreFailed(f"{MAX_INVITES} invites are in force. Revoke some: `masa-node invites --revoke ID`.")
            connection.execute(
                "INSERT INTO invites (token_hash, made_at_unix_s, expires_at_unix_s, uses, note)"
                " VALUES (?, ?, ?, ?, ?)",
                (invite.token_hash, invite.made_at_unix_s, invite.expires_at_unix_s, invite.uses, invite.note),
            )

        await self._for_a_person(job)

    async def use_invite(self, token_hash: bytes, node_id: NodeId, at_unix_s: float) -> bool:
        """Let this node in by it? Spends one use, and none when the same node comes again. False when in doubt."""

        def job(connection: sqlite3.Connection) -> bool:
            found = connection.execute(
                "SELECT uses FROM invites WHERE token_hash = ? AND expires_at_unix_s > ?", (token_hash, at_unix_s)
            ).fetchone()
            if found is None:
                return False
            used_by = connection.execute("SELECT node_id FROM invite_uses WHERE token_hash = ?", (token_hash,))
            nodes = {row[0] for row in used_by}
            if node_id not in nodes and len(nodes) >= found[0]:
                return False
            connection.execute(
                "INSERT OR IGNORE INTO invite_uses (token_hash, node_id, used_at_unix_s) VALUES (?, ?, ?)",
                (token_hash, node_id, int(at_unix_s)),
            )
            return True

        is_good = await self._try(job, otherwise=False)
        if is_good and not self.is_kept:
            self._note_later(("use", token_hash.hex(), node_id), job)
        return is_good

    async def invites(self) -> list[KeptInvite]:
        """All, newest first, those that ended too until the next is made. Raises `StoreFailed`."""
        rows = await self.database.read(
            lambda connection: connection.execute(
                "SELECT token_hash, made_at_unix_s, expires_at_unix_s, uses, note,"
                " (SELECT count(*) FROM invite_uses AS u WHERE u.token_hash = i.token_hash) FROM invites AS i"
                " ORDER BY made_at_unix_s DESC LIMIT ?",
                (MAX_INVITES,),
            ).fetchall()
        )
        fields = ("token_hash", "made_at_unix_s", "expires_at_unix_s", "uses", "note", "used")
        return checked(KeptInvite, fields, rows)

    async def revoke_invite(self, token_hash: bytes) -> bool:
        """It lets nobody in any more; members let in by it stay. False when there is none. Raises `StoreFailed`."""
        return await self._for_a_person(
            lambda connection: (
                connection.execute("DELETE FROM invites WHERE token_hash = ?", (token_hash,)).rowcount > 0
            )
        )

    # ---- commands ----

    async def add_command(self, verb: Verb, argument: str, at_unix_s: float) -> int:
        """Leave a command for the node; its id. Raises `StoreFailed`, also beyond MAX_PENDING_COMMANDS."""
        if len(argument) > MAX_ARGUMENT_CHARS:
            raise StoreFailed(f"The argument is {len(argument)} characters long; the limit is {MAX_ARGUMENT_CHARS}.")

        def job(connection: sqlite3.Connection) -> int:
            (count,) = connection.execute(
                "SELECT count(*) FROM commands WHERE state = ?", (CommandState.PENDING.value,)
            ).fetchone()
            if count >= MAX_PENDING_COMMANDS:
                raise StoreFailed(
                    f"{MAX_PENDING_COMMANDS} commands wait for the node. Start it, or see why it is stuck."
                )
            added = connection.execute(
                "INSERT INTO commands (verb, argument, made_at_unix_s, state, words) VALUES (?, ?, ?, ?, '')",
                (verb.value, argument, int(at_unix_s), CommandState.PENDING.value),
            )
            return added.lastrowid or 0

        command_id = await self._for_a_person(job)
        self._has_own_command = True
        return command_id

    async def command(self, command_id: int) -> OwnerCommand | None:
        """How this command stands; None when it is not known any more. Raises `StoreFailed`."""
        rows = await self.database.read(
            lambda connection: connection.execute(
                f"SELECT {_COMMAND_COLUMNS} FROM commands WHERE id = ?",  # noqa: S608 - a constant
                (command_id,),
            ).fetchall()
        )
        return next(iter(checked(OwnerCommand, _COMMAND_FIELDS, rows)), None)

    async def pending_commands(self) -> list[OwnerCommand]:
        """Those to carry out, oldest first."""
        rows = await self._read(
            f"SELECT {_COMMAND_COLUMNS} FROM commands WHERE state = ? ORDER BY id LIMIT ?",  # noqa: S608 - a constant
            CommandState.PENDING.value,
            MAX_PENDING_COMMANDS,
        )
        return checked(OwnerCommand, _COMMAND_FIELDS, rows)

    async def finish_command(self, command_id: int, state: CommandState, words: str) -> bool:
        """Tell the person what became of it; its argument, which may hold a token, is not kept. False on failure."""

        def job(connection: sqlite3.Connection) -> bool:
            connection.execute(
                "UPDATE commands SET state = ?, words = ?, argument = '' WHERE id = ?",
                (state.value, words[:MAX_WORDS_CHARS], command_id),
            )
            connection.execute(
                "DELETE FROM commands WHERE state <> ? AND id NOT IN"
                " (SELECT id FROM commands WHERE state <> ? ORDER BY id DESC LIMIT ?)",
                (CommandState.PENDING.value, CommandState.PENDING.value, MAX_FINISHED_COMMANDS),
            )
            return True

        return await self._try(job, otherwise=False)

    async def changed(self) -> bool:
        """Did another process write, or was a command added here, since the last call? True at the first. Cheap."""
        has_own, self._has_own_command = self._has_own_command, False
        rows = await self._read("PRAGMA data_version")
        before, self._version = self._version, rows[0][0] if rows else self._version
        return has_own or before != self._version

    # ---- inside ----

    def _note_unsaved(self, node_id: NodeId, record: PeerRecord | None) -> None:
        self.unsaved.pop(node_id, None)
        if len(self.unsaved) >= MAX_UNSAVED:
            del self.unsaved[next(iter(self.unsaved))]
        self.unsaved[node_id] = record

    async def _keep(self, about: tuple[str, ...], job: Job[bool]) -> bool:
        """Write it now, or later. Was it written?"""
        is_done = await self._try(job, otherwise=False) and self.is_kept
        if is_done:
            self.postponed.pop(about, None)
        else:
            self._note_later(about, job)
        return is_done

    def _note_later(self, about: tuple[str, ...], job: Job[bool]) -> None:
        self.postponed.pop(about, None)
        while len(self.postponed) >= MAX_LATER:
            del self.postponed[next(iter(self.postponed))]
        self.postponed[about] = job

    async def _read(self, sql: str, *values: object) -> list[Row]:
        try:
            return await self.database.read(lambda connection: connection.execute(sql, values).fetchall())
        except StoreFailed as exc:
            self._failed(exc)
            return []

    async def _try(self, job: Job[T], otherwise: T) -> T:
        try:
            done = await self.database.write(job)
        except StoreFailed as exc:
            self._failed(exc)
            return otherwise
        self._is_failing = False
        return done

    async def _for_a_person(self, job: Job[T]) -> T:
        if not self.is_kept:
            raise StoreFailed(f"{FILE_NAME} in MASA_DIR cannot be written; the log says why.")
        return await self.database.write(job)

    def _failed(self, exc: StoreFailed) -> None:
        if not self._is_failing:  # one line until it works again, not one a second
            log.warning("what the network reports is not saved for now", why=exc.message)
        self._is_failing = True
