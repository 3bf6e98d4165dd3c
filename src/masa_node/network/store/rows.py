"""Rows of the store as they are read: each is checked as foreign input, for others may have written the file."""

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeVar

import msgspec
import structlog
from msgspec import Meta

from masa_node.network.links.peer_record import PeerRecord, UnixTime
from masa_node.network.links.vouchers import MAX_VOUCHER_BYTES
from masa_node.network.transport.interfaces import NodeId

MAX_USES = 10_000  # of one invite: as many as peers
MAX_NOTE_CHARS = 200

log = structlog.get_logger()
Row = tuple[object, ...]
T = TypeVar("T")
TokenHash = Annotated[bytes, Meta(min_length=16, max_length=64)]


class KeptVoucher(msgspec.Struct, frozen=True):
    """What another member signed about this node, so that peers that do not know it let it in."""

    by: Annotated[NodeId, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    signed: Annotated[bytes, Meta(max_length=MAX_VOUCHER_BYTES)]
    expires_at_unix_s: UnixTime


class KeptInvite(msgspec.Struct, frozen=True):
    """An invite that this node gave out. Only the token's hash is known; `used` of `uses` nodes have come with it."""

    token_hash: TokenHash
    made_at_unix_s: UnixTime
    expires_at_unix_s: UnixTime
    uses: Annotated[int, Meta(ge=1, le=MAX_USES)]
    note: Annotated[str, Meta(max_length=MAX_NOTE_CHARS)] = ""
    used: Annotated[int, Meta(ge=0)] = 0


def record_of(node_id: object, record: object) -> PeerRecord | None:
    """The peer's record in this row; None when it cannot be read."""
    try:
        read = msgspec.json.decode(record, type=PeerRecord) if isinstance(record, bytes) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return read if read is not None and read.node_id == node_id else None


def checked(form: type[T], fields: Sequence[str], rows: Iterable[Row]) -> list[T]:
    """The rows that fit; the others are left out, with a warning."""
    read: list[T] = []
    for row in rows:
        try:
            read.append(msgspec.convert(dict(zip(fields, row, strict=True)), form))
        except msgspec.ValidationError as exc:
            log.warning("a row of the store cannot be read", of=form.__name__, why=str(exc))
    return read
