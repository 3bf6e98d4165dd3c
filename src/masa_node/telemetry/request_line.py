"""The line about one request as people read it: at most MAX_COLUMNS wide, whatever names and ids are in it. Pure."""

import re

from rich.cells import cell_len, set_cell_size

from masa_node.chat.request import OWNER
from masa_node.telemetry.request_record import TIME_OF_DAY, RequestRecord

MAX_COLUMNS = 100
_MAX_MODEL = 32
_MAX_PROVIDER = 16
_MAX_ID = 20
_SECOND_MS = 1000
_WHOLE_FROM_MS = 10  # below, a whole number would hide what a node adds
_SHORT = r"\1"  # as peers are named everywhere else; what became of them must stay on the line
_NODE_ID = re.compile(r"\b([0-9a-f]{10})[0-9a-f]{54}\b")


def request_line(record: RequestRecord) -> str:
    """Time, status, endpoint, model, provider, how long it took or what went wrong, the request's id."""
    parts = [
        record.timestamp[TIME_OF_DAY],
        str(record.status),
        record.endpoint.value,
        _cut(record.model or "-", _MAX_MODEL),
    ]
    if record.key not in ("", OWNER):
        parts.append(f"for {record.key}")
    if record.requester:
        parts.append(f"for peer {_cut(record.requester, _MAX_PROVIDER)}")
    if record.served_by:
        parts.append(f"by {_cut(record.served_by, _MAX_PROVIDER)}")
    if record.error:
        parts.append(record.error)
    parts.append(_duration(record.total_ms))
    if record.stream and record.first_piece_ms is not None:
        parts.append(f"(first piece {_duration(record.first_piece_ms)})")
    if record.error and record.attempts:
        parts.append(f"({_NODE_ID.sub(_SHORT, _printable(record.attempts))})")
    ending = f"  {_cut(record.request_id, _MAX_ID)}"
    return _cut(" ".join(parts), MAX_COLUMNS - cell_len(ending)) + ending


def _duration(total_ms: float) -> str:
    if total_ms >= _SECOND_MS:
        return f"{total_ms / 1000:.1f} s"
    return f"{total_ms:.0f} ms" if total_ms >= _WHOLE_FROM_MS else f"{total_ms:.1f} ms"


def _cut(text: str, columns: int) -> str:
    text = _printable(text)
    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"


def _printable(text: str) -> str:
    """No text from outside may steer the terminal that it is shown on. (JSON escapes by itself.)"""
    return text if text.isprintable() else repr(text)
