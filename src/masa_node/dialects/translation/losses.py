"""What a translation leaves out, and when it has to refuse: the two ways in which a target can fall short."""

from masa_node.chat.errors import NotTranslatable

MAX_NAMED = 24  # names told in the header; a body may hold any number of unknown fields
MAX_NAME_CHARS = 64


class Losses:
    """Notes the names of fields that were left out, each once, in the order in which they were met.

    `noted` are those names. What the target carries, though most others do not, is no loss: its names are `carried`.
    """

    __slots__ = ("_carried", "noted")

    def __init__(self, carried: frozenset[str] = frozenset()) -> None:
        self.noted: tuple[str, ...] = ()
        self._carried = carried

    def drop(self, *names: str) -> None:
        """These fields do not travel on: a nuance is lost, the answer is not wrong."""
        for name in names:
            if name not in self.noted and len(self.noted) <= MAX_NAMED and name not in self._carried:
                self.noted = (*self.noted, name)

    @property
    def names(self) -> list[str]:
        """All of them, at most MAX_NAMED; then the word `more`."""
        named = [_printable(name) for name in self.noted][:MAX_NAMED]
        return [*named, "more"] if len(self.noted) > MAX_NAMED else named


def refuse(field: str, why: str, kind: type[NotTranslatable] = NotTranslatable) -> NotTranslatable:
    """The error for a field without which the answer would be wrong; `why` says what the target does not have."""
    return kind(
        f"`{_printable(field)}` cannot be translated: {why} Nothing was sent. Leave the field out, or ask a model "
        "whose server speaks the format of this endpoint."
    )


def drop_description(of: object, names: dict[str, str], losses: Losses) -> None:
    """What a structured answer is for, where a format has no room for it beside the schema."""
    if of is not None:
        losses.drop(f"{names.get('output', 'output')}.description")


def leave_out_hosted(hosted: list[str], forced: str | None, losses: Losses, *, has_others: bool) -> None:
    """Beside tools of the caller's own the model can do without them, and they are left out by name.

    Raises `NotTranslatable` where nothing else was offered, or where the model has to use one.
    """
    if not hosted:
        return
    if not has_others or (forced is not None and forced in hosted):
        raise refuse("tools", f"{', '.join(hosted[:4])}: such a tool runs on the format's own servers only.")
    losses.drop(*hosted)


def _printable(name: str) -> str:
    return "".join(char if char.isascii() and char.isprintable() and char not in ",`" else "?" for char in name)[
        :MAX_NAME_CHARS
    ]
