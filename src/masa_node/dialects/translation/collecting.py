"""What the events of an answer add up to: for bodies in one piece, and for the last events of some streams."""

from dataclasses import dataclass, field

from masa_node.dialects.translation.conversation import Origin
from masa_node.dialects.translation.events import (
    Begun,
    CallBegun,
    CallPiece,
    Citation,
    Ended,
    Event,
    Failed,
    Finished,
    Logprob,
    RefusalPiece,
    StopReason,
    TextPiece,
    ThoughtPiece,
    ThoughtSealed,
    Tokens,
    Used,
    merged,
)
from masa_node.dialects.translation.wire import GrowingObject


@dataclass(slots=True)
class TextBlock:
    """Visible words."""

    pieces: list[str] = field(default_factory=list[str])
    citations: list[Citation] = field(default_factory=list[Citation])
    logprobs: list[Logprob] = field(default_factory=list[Logprob])

    @property
    def text(self) -> str:
        """All of them."""
        return "".join(self.pieces)


@dataclass(slots=True)
class ThoughtBlock:
    """A thought, sealed or not."""

    pieces: list[str] = field(default_factory=list[str])
    seal: str | None = None
    origin: Origin = Origin.OPEN
    is_hidden: bool = False

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)


@dataclass(slots=True)
class RefusalBlock:
    """Words of a refusal."""

    pieces: list[str] = field(default_factory=list[str])

    @property
    def text(self) -> str:
        """All of them."""
        return "".join(self.pieces)


@dataclass(slots=True)
class CallBlock:
    """A tool call."""

    call: int
    id: str
    name: str
    given: GrowingObject = field(default_factory=GrowingObject)

    @property
    def arguments(self) -> str:
        """All of them, as JSON text."""
        return self.given.text


Block = TextBlock | ThoughtBlock | RefusalBlock | CallBlock


@dataclass(slots=True)
class Choice:
    """One of the answers that were asked for: its blocks in order, and why it stopped (None: not known)."""

    blocks: list[Block] = field(default_factory=list[Block])
    calls: dict[int, CallBlock] = field(default_factory=dict[int, CallBlock])
    reason: StopReason | None = None
    stop_sequence: str | None = None

    @property
    def text(self) -> str:
        """The visible words of all blocks."""
        return "".join(block.text for block in self.blocks if isinstance(block, TextBlock))

    @property
    def refusal(self) -> str:
        """The words of a refusal."""
        return "".join(block.text for block in self.blocks if isinstance(block, RefusalBlock))

    @property
    def thoughts(self) -> list[ThoughtBlock]:
        """All thoughts."""
        return [block for block in self.blocks if isinstance(block, ThoughtBlock)]

    @property
    def thought(self) -> str:
        """The words of all thoughts."""
        return "".join(block.text for block in self.thoughts)

    @property
    def logprobs(self) -> list[Logprob]:
        """Those of all words."""
        return [each for block in self.blocks if isinstance(block, TextBlock) for each in block.logprobs]

    @property
    def citations(self) -> list[Citation]:
        """Those of all words."""
        return [each for block in self.blocks if isinstance(block, TextBlock) for each in block.citations]


class Reply:
    """Collects events; `is_ended` tells that the answer was whole."""

    __slots__ = ("begun", "choices", "failed", "is_ended", "tokens")

    def __init__(self) -> None:
        self.begun = Begun()
        self.choices: dict[int, Choice] = {}
        self.tokens = Tokens()
        self.failed: Failed | None = None
        self.is_ended = False

    def add(self, event: Event) -> None:
        """One more event."""
        match event:
            case Begun():
                self.begun = event
                self.tokens = merged(self.tokens, event.tokens) if event.tokens is not None else self.tokens
            case Used(tokens=tokens):
                self.tokens = merged(self.tokens, tokens)
            case Failed():
                self.failed = event
            case Ended():
                self.is_ended = True
            case _:
                _add_to(self.choices.setdefault(event.choice, Choice()), event)

    @property
    def first(self) -> Choice:
        """The choice of formats that have but one."""
        return self.choices.get(0) or Choice()


def collected(events: list[Event]) -> Reply:
    """The answer that these events make."""
    reply = Reply()
    for event in events:
        reply.add(event)
    return reply


_Content = TextPiece | RefusalPiece | ThoughtPiece | ThoughtSealed | CallBegun | CallPiece | Citation | Finished


def _add_to(choice: Choice, event: _Content) -> None:
    match event:
        case TextPiece(text=text, logprobs=logprobs):
            block = _text_block(choice)
            block.pieces.append(text)
            block.logprobs.extend(logprobs or ())
        case ThoughtPiece(text=text):
            _thought_block(choice).pieces.append(text)
        case ThoughtSealed():
            _seal(choice, event)
        case RefusalPiece(text=text):
            _refusal_block(choice).pieces.append(text)
        case CallBegun() | CallPiece():
            _add_call(choice, event)
        case Citation():
            _text_block(choice).citations.append(event)
        case Finished(reason=reason, stop_sequence=stop_sequence):
            choice.reason, choice.stop_sequence = reason, stop_sequence


def _add_call(choice: Choice, event: CallBegun | CallPiece) -> None:
    if isinstance(event, CallBegun):
        choice.calls[event.call] = call = CallBlock(event.call, event.id, event.name)
        choice.blocks.append(call)
    elif event.call in choice.calls:
        choice.calls[event.call].given.add(event.arguments)


def _text_block(choice: Choice) -> TextBlock:
    last = choice.blocks[-1] if choice.blocks else None
    if isinstance(last, TextBlock):
        return last
    choice.blocks.append(block := TextBlock())
    return block


def _refusal_block(choice: Choice) -> RefusalBlock:
    last = choice.blocks[-1] if choice.blocks else None
    if isinstance(last, RefusalBlock):
        return last
    choice.blocks.append(block := RefusalBlock())
    return block


def _thought_block(choice: Choice) -> ThoughtBlock:
    last = choice.blocks[-1] if choice.blocks else None
    if isinstance(last, ThoughtBlock) and last.seal is None:
        return last
    choice.blocks.append(block := ThoughtBlock())
    return block


def _seal(choice: Choice, event: ThoughtSealed) -> None:
    if event.is_hidden:
        choice.blocks.append(ThoughtBlock([], event.seal, event.origin, is_hidden=True))
        return
    block = _thought_block(choice)
    block.seal, block.origin = event.seal, event.origin
