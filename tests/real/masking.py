"""What may differ between two answers of the same server to the same request, taken out."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

VOLATILE_FIELDS = frozenset({"id", "created", "created_at", "completed_at", "timings"})
VOLATILE_BYTES = re.compile(rb'"id":"[^"]*"|"created":\d+|"timings":\{[^}]*\}')


def masked(answer: BaseModel) -> Any:  # noqa: ANN401 - any JSON value
    """Give an SDK's object as plain JSON values, without what differs each time."""
    return _masked(answer.model_dump(mode="json"))


def all_masked(answers: Sequence[BaseModel]) -> list[Any]:
    """Mask each, in order."""
    return [masked(answer) for answer in answers]


def masked_bytes(body: bytes) -> bytes:
    """Give a body with every volatile value blanked out and every other byte as it was."""
    return VOLATILE_BYTES.sub(lambda found: found[0].split(b":")[0] + b":_", body)


def _masked(value: Any) -> Any:  # noqa: ANN401
    match value:
        case dict():
            return {name: _masked(inner) for name, inner in value.items() if name not in VOLATILE_FIELDS}
        case list():
            return [_masked(inner) for inner in value]
        case _:
            return value
