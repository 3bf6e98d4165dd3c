"""What an owner has a node do about its peers: join others, trust, block, forget one.

By an owner command to the node if one runs with this MASA_DIR, else upon its store.
"""

import asyncio
import string
import time
from collections.abc import Sequence

from masa_node.chat.errors import ConfigurationError
from masa_node.chat.owner_errors import NotDone
from masa_node.network.links.invites import BadInvite, make_link, parse_link
from masa_node.network.links.peer_book import PeerBook, PeerRecord
from masa_node.network.store.commands import FOR_A_RUNNING_NODE, CommandResult, CommandState, OwnerCommand, Verb, apply
from masa_node.network.store.joins import keep_refusal, obstacle
from masa_node.network.store.store import Store
from masa_node.network.transport.foreign_text import sanitize
from masa_node.network.transport.interfaces import SHORT_ID_CHARS, NodeId, is_node_id, short_id
from masa_node.node.owner.folder import CommandedNode, own_id
from masa_node.storage.database import StoreFailed
from masa_node.storage.lock import NodeLock

MIN_ID_CHARS = 4
MAX_NAMED_PEERS = 5  # of those that an id fits
_MAX_NAME_CHARS = 30
_KEEPS_TRYING = "It keeps trying until the invite ends; `masa-node peers` shows more."


async def join(node: CommandedNode, link: str) -> CommandResult:
    """Join by this link, now if a node runs, else at its next start. Raises `BadInvite`, `NotDone`."""
    invite = parse_link(link, time.time())
    async with node.store() as store:
        if invite.node_id == await own_id(store):
            raise BadInvite("This is this node's own invite. Use it on another node.")
        command_id = await store.add_command(Verb.JOIN, make_link(invite), time.time())
        if not node.is_running():
            return CommandResult(CommandState.PENDING, "The node will join when it is started: `masa-node up`.")
        return await _joined(node, store, command_id)


async def change_peer(node: CommandedNode, verb: Verb, text: str) -> CommandResult:
    """Every verb but JOIN, upon the peer that `text` names. Raises `ConfigurationError`, `NotDone`."""
    async with node.store() as store:
        node_id = find_peer(text, await store.load(), is_to_be_trusted=verb is Verb.TRUST)
        lock = await asyncio.to_thread(NodeLock.take_if_free, node.masa_dir)
        if lock is None:
            late = "It will be done as soon as the node reads it; see its log."
            return await node.have(store, verb, node_id, late)
        with lock:
            return await _apply_here(store, verb, node_id)


def find_peer(text: str, records: Sequence[PeerRecord], *, is_to_be_trusted: bool = False) -> NodeId:
    """The peer with this id or name, or whose id begins so. Raises `ConfigurationError` when that is not exactly one.

    A whole id need not be known here. A peer chooses its name, and with some patience the first letters of its id. So
    to be trusted, it must be named by as many letters of its id as the tables show.
    """
    wanted = text.strip().lower()
    if is_node_id(wanted):
        return NodeId(wanted)
    least_chars = SHORT_ID_CHARS if is_to_be_trusted else MIN_ID_CHARS
    is_prefix = len(wanted) >= least_chars and set(wanted) <= set(string.hexdigits)
    found = {
        record.node_id: record
        for record in records
        if (is_prefix and record.node_id.startswith(wanted))
        or (wanted and not is_to_be_trusted and wanted in (record.name.lower(), record.called.lower()))
    }
    if len(found) == 1:
        return next(iter(found))
    if found:
        some = ", ".join(_described(record) for record in list(found.values())[:MAX_NAMED_PEERS])
        raise ConfigurationError(f"{text!r} fits {len(found)} peers: {some}. Give more of the id.")
    if is_to_be_trusted and 0 < len(wanted) < SHORT_ID_CHARS:
        raise ConfigurationError(
            f"{text!r} is too short to trust a peer by: another could use the same. Give the first "
            f"{SHORT_ID_CHARS} letters of its id; `masa-node peers` shows them."
        )
    by = "id" if is_to_be_trusted else "id or name"
    raise ConfigurationError(
        f"No peer has the {by} {text!r}. `masa-node peers --all` shows them; of an id, the first {least_chars} letters "
        "are enough."
    )


async def _joined(node: CommandedNode, store: Store, command_id: int) -> CommandResult:
    """Raises `NotDone` with what is in the way."""
    try:
        return await node.answer(store, command_id, _KEEPS_TRYING)
    except NotDone as exc:
        command, why = await store.command(command_id), await obstacle(store)
        if command is not None and command.state is CommandState.FAILED:
            await keep_refusal(store, "")  # its owner is told now
        if command is None or command.state is not CommandState.PENDING or not why:
            raise
        raise NotDone(f"Not linked yet: {why} {_KEEPS_TRYING}") from exc


async def _apply_here(store: Store, verb: Verb, node_id: NodeId) -> CommandResult:
    """No node runs, and none can start meanwhile: the caller holds the lock."""
    own = await own_id(store)
    book = PeerBook(await store.load(), own=NodeId(own) if own else None)
    now_unix_s = time.time()
    for earlier in await store.pending_commands():  # what a node that was stopped did not get to
        if earlier.verb not in FOR_A_RUNNING_NODE:
            done = apply(earlier, book, now_unix_s)
            await store.finish_command(earlier.id, done.state, done.words)
    answer = apply(OwnerCommand(1, verb, node_id, int(now_unix_s)), book, now_unix_s)
    if answer.state is not CommandState.DONE:
        raise NotDone(answer.words)
    if not await store.save(*book.take_changes()):
        raise StoreFailed("It could not be written to MASA_DIR. The line above says why.")
    return answer


def _described(record: PeerRecord) -> str:
    return f"{short_id(record.node_id)} {sanitize(record.shown_name)[:_MAX_NAME_CHARS]}".strip()
