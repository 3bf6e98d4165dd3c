"""What both sides of an answer have to know beside its bytes, and the two protocols of its readers and writers."""

from typing import Protocol

import msgspec

from masa_node.dialects.translation.conversation import Conversation
from masa_node.dialects.translation.events import Event


class AnswerContext(msgspec.Struct, frozen=True):
    """`answer_id` is an id without a prefix, `now_unix_s` calendar time: both given, so that translating stays pure."""

    conversation: Conversation
    answer_id: str
    now_unix_s: int


class AnswerReader(Protocol):
    """Reads one answer in a format. Raises `ProviderError` for a frame of the format that cannot be read."""

    def frame(self, frame: bytes) -> list[Event]:
        """What one frame of a stream says; nothing for noise."""
        ...

    def whole(self, body: bytes) -> list[Event]:
        """What a complete body says."""
        ...


class AnswerWriter(Protocol):
    """Writes one answer in a format."""

    def write(self, event: Event) -> bytes:
        """The frames for this event of a stream; b"" where it has to wait for others, or says nothing here."""
        ...

    def whole(self, events: list[Event]) -> bytes:
        """The complete body for these events."""
        ...
