"""The line about one request as people read it: at most MAX_COLUMNS wide, whatever names and ids are in it. Pure."""

import re
from collections.abc import Mapping

from rich.cells import cell_len, set_cell_size

MAX_COLUMNS = 100
_MAX_MODEL = 32
_MAX_PROVIDER = 16
_MAX_ID = 20
_SHORT = r"\1"  # as peers are named everywhere else; what became of them must stay on the line
_NODE_ID = re.compile(r"\b([0-9a-f]{10})[0-9a-f]{54}\b")
TIME_OF_DAY = slice(11, 19)  # of an ISO 8601 time: what a person looks for


def request_line(event: Mapping[str, object]) -> str:
    """Time, status, endpoint, model, provider, how long it took or what went wrong, the request's id."""
    error, served_by = event.get("error"), event.get("served_by")
    parts = [
        str(event.get("timestamp", ""))[TIME_OF_DAY],
        f"{event.get('status', '')}",
        f"{event.get('endpoint', '')}",
        _cut(str(event.get("model") or "-"), _MAX_MODEL),
    ]
    if event.get("requester"):
        parts.append(f"for peer {_cut(str(event['requester']), _MAX_PROVIDER)}")
    if served_by:
        parts.append(f"by {_cut(str(served_by), _MAX_PROVIDER)}")
    if error:
        parts.append(str(error))
    parts.append(_duration(event.get("total_ms")))
    if event.get("stream") and (first := _duration(event.get("first_piece_ms"))):
        parts.append(f"(first piece {first})")
    if error and event.get("attempts"):
        parts.append(f"({_NODE_ID.sub(_SHORT, str(event['attempts']))})")
    ending = f"  {_cut(str(event.get('request_id', '')), _MAX_ID)}"
    return _cut(" ".join(part for part in parts if part), MAX_COLUMNS - cell_len(ending)) + ending


def _duration(total_ms: object) -> str:
    if not isinstance(total_ms, int | float):
        return ""
    return f"{total_ms / 1000:.1f} s" if total_ms >= 1000 else f"{total_ms:.0f} ms"  # noqa: PLR2004 - a second


def _cut(text: str, columns: int) -> str:
    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"
