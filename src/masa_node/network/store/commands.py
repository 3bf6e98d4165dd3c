"""What the owner wants of the node while it runs, written into the store by a command and read there by the node.

Whoever may write MASA_DIR may command the node. HTTP endpoints that change it give the same commands. Pure.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from masa_node.network.links.peer_book import PeerBook, UnixTime
from masa_node.network.transport.interfaces import NodeId, is_node_id, short_id

MAX_ARGUMENT_CHARS = 4096  # a join link with its addresses takes a few hundred
MAX_WORDS_CHARS = 1000


class Verb(StrEnum):
    """The commands there are. The argument of JOIN is a link, of RELAY a relay, of CONSOLE a token's hash; that of the
    others a whole NodeId.
    """

    JOIN = "join"
    FORGET = "forget"
    BLOCK = "block"
    UNBLOCK = "unblock"
    TRUST = "trust"
    UNTRUST = "untrust"
    RELAY = "relay"  # the relay that the node is to use: `public`, a URL, `none`
    CHECK = "check"  # nothing but an answer: a command wants to know that the node reads what it writes; its own id

    CONSOLE = "console"  # whoever shows the token of this hash may change the node from a browser


FOR_A_RUNNING_NODE = frozenset({Verb.JOIN, Verb.RELAY, Verb.CONSOLE})  # carried out by no command itself


class CommandState(StrEnum):
    """How far a command is."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class CommandResult(msgspec.Struct, frozen=True):
    """What became of a command, in words for the person that gave it."""

    state: CommandState
    words: str


class OwnerCommand(msgspec.Struct, frozen=True):
    """One command as it stands in the store; `words` are the answer's."""

    id: Annotated[int, Meta(ge=1)]
    verb: Verb
    argument: Annotated[str, Meta(max_length=MAX_ARGUMENT_CHARS)]
    made_at_unix_s: UnixTime
    state: CommandState = CommandState.PENDING
    words: Annotated[str, Meta(max_length=MAX_WORDS_CHARS)] = ""


def apply(command: OwnerCommand, book: PeerBook, at_unix_s: float) -> CommandResult:
    """Do what touches the book only: every verb but those FOR_A_RUNNING_NODE, for which it raises `ValueError`.

    The caller saves the book's changes before it gives the answer, and closes the link of a peer that is not a member
    any more.
    """
    if command.verb in FOR_A_RUNNING_NODE:
        raise ValueError(command.verb)
    if not is_node_id(command.argument):
        return _failed("This is not a node id: it has 64 hexadecimal digits. `masa-node peers` shows them.")
    return _carry_out_upon(NodeId(command.argument), command.verb, book, at_unix_s)


def _carry_out_upon(node_id: NodeId, verb: Verb, book: PeerBook, at_unix_s: float) -> CommandResult:
    who = short_id(node_id)
    also = _with_it(len(book.vouched_by(node_id)))
    match verb:
        case Verb.FORGET:
            done = book.forget(node_id)
            words = f"Peer {who} is forgotten{also}. It is known again once BOOTNODES or another node names it."
            return _done(words) if done else _unknown(who)
        case Verb.BLOCK:
            done = book.block(node_id, at_unix_s)
            words = f"Peer {who} is blocked{also}. `masa-node peers unblock` ends that."
            return _done(words) if done else _failed(f"Peer {who} is this node itself, or too many are blocked.")
        case Verb.UNBLOCK:
            done = book.unblock(node_id)
            words = f"Peer {who} is no longer blocked. If it was trusted before, say so again."
            return _done(words) if done else _failed(f"Peer {who} is not blocked.")
        case Verb.TRUST:
            done = book.trust(node_id, is_trusted=True)
            words = f"Peer {who} is trusted: requests with `X-Masa-Privacy: trusted` may go to it."
            return _done(words) if done else _unknown(who)
        case Verb.UNTRUST:
            done = book.trust(node_id, is_trusted=False)
            return _done(f"Peer {who} is no longer trusted.") if done else _unknown(who)
        case _:
            return _done("The running node reads this MASA_DIR.")


def _with_it(count: int) -> str:
    """The peers that were members only by the voucher of the one that is blocked or forgotten."""
    if not count:
        return ""
    return f", and out {'is 1 peer' if count == 1 else f'are {count} peers'} that it alone vouched for"


def _done(words: str) -> CommandResult:
    return CommandResult(CommandState.DONE, words)


def _failed(words: str) -> CommandResult:
    return CommandResult(CommandState.FAILED, words)


def _unknown(who: str) -> CommandResult:
    return _failed(f"Peer {who} is not known here, or blocked. `masa-node peers` shows those that are.")
