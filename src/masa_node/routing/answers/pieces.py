"""Bytes that come in pieces, in one place however they were cut."""

from io import BytesIO


class Pieces:
    """`add` each, then take the `whole`, once. One alone is given as it came, more are joined as they come."""

    __slots__ = ("_first", "_more")

    def __init__(self) -> None:
        self._first = b""
        self._more: BytesIO | None = None

    def add(self, piece: bytes) -> None:
        """One more."""
        if self._more is not None:
            self._more.write(piece)
        elif self._first:
            self._more = BytesIO()
            self._more.writelines((self._first, piece))
        else:
            self._first = piece

    def whole(self) -> bytes:
        """All of them. Nothing is kept."""
        whole = self._first if self._more is None else self._more.getvalue()  # which is no copy
        self.drop()
        return whole

    def drop(self) -> None:
        """Nothing is kept."""
        self._first, self._more = b"", None
