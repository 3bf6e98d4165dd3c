"""Is what these tests read the bytes that were seen?

Covers: `registry`, `tracking`.
"""

import json
from pathlib import Path

import pytest

from tests.dialects import recorded
from tests.dialects.recorded import Stream

SEEN_ON_THE_WIRE = [stream for stream in recorded.streams() if stream.chunk_sizes]


def test_there_are_recordings_of_every_dialect() -> None:
    assert {stream.dialect.name for stream in SEEN_ON_THE_WIRE} == {"openai", "openai.responses", "anthropic", "ollama"}
    assert len(SEEN_ON_THE_WIRE) >= 15


@pytest.mark.parametrize("stream", SEEN_ON_THE_WIRE, ids=str)
def test_a_stream_is_rebuilt_byte_for_byte(stream: Stream) -> None:
    assert stream.raw.endswith(stream.raw_tail)
    assert len(stream.raw) == sum(stream.chunk_sizes)


@pytest.mark.parametrize("path", sorted(recorded.WIRE.glob("*.json")), ids=lambda path: path.stem)
def test_every_vector_is_json(path: Path) -> None:
    assert json.loads(path.read_text())
