"""How bytes may come in: cut anywhere, and what comes out of the tracker then."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st

from masa_node.chat.errors import ProviderError
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.tracking import StreamTracker
from tests.examples import times

FEW = settings(max_examples=times(1 / 3))  # for a property that is checked for each of many recordings


@dataclass(frozen=True, slots=True)
class Followed:
    """What a caller got, piece by piece, and how it ended."""

    pieces: tuple[bytes, ...]
    tracker: StreamTracker

    @property
    def out(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def fault(self) -> ProviderError | None:
        return self.tracker.fault


def follow(dialect: Dialect, chunks: Sequence[bytes]) -> Followed:
    """Read a stream to its end as `StreamTracker` asks for: feed until a fault, then finish."""
    tracker = StreamTracker(dialect)
    out: list[bytes] = []
    for chunk in chunks:
        out.append(tracker.feed(chunk))
        if tracker.fault is not None:
            return Followed(tuple(out), tracker)
    out.append(tracker.finish())
    return Followed(tuple(out), tracker)


def cut(raw: bytes, positions: Sequence[int]) -> list[bytes]:
    """The pieces of `raw` between these positions; the same position twice gives an empty piece."""
    ends = [*sorted(positions), len(raw)]
    return [raw[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@st.composite
def chunks_of(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    return cut(raw, draw(st.lists(st.integers(0, len(raw)), max_size=12)))


def frame_ends(frames: Sequence[bytes]) -> list[int]:
    """Where one may stop without stopping inside a frame."""
    ends = [0]
    for frame in frames:
        ends.append(ends[-1] + len(frame))
    return ends
