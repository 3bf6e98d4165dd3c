"""QR codes of invites: for a terminal, and for the console, which draws them itself."""

from masa_node.network.links.invites import MAX_LINK_CHARS

QUIET_MODULES = 2  # in a terminal, where room is short; readers find codes with less than the 4 of the standard
_HALVES = {"00": " ", "10": "▀", "01": "▄", "11": "█"}


def qr_rows(text: str) -> list[str]:
    """A row of the code each, without a quiet zone; 1 is dark. Raises `ValueError` for more than MAX_LINK_CHARS."""
    if len(text) > MAX_LINK_CHARS:
        raise ValueError(f"{len(text)} characters")
    import segno  # noqa: PLC0415 - only where a code is made

    code = segno.make_qr(text, error="l", boost_error=True)  # links are long: the smallest code, at its best
    return ["".join("1" if module else "0" for module in row) for row in code.matrix]


def qr_for_terminal(text: str) -> str:
    """Lines of half blocks, dark on light whatever the terminal's colours, with a quiet zone. Raises as `qr_rows`."""
    rows = qr_rows(text)
    side = "0" * QUIET_MODULES
    blank = "0" * (len(rows) + 2 * QUIET_MODULES)
    around = [blank] * QUIET_MODULES
    rows = [*around, *(side + row + side for row in rows), *around]
    rows += [blank] * (len(rows) % 2)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ["".join(_HALVES[upper + lower] for upper, lower in zip(*pair, strict=True)) for pair in pairs]
    return "\n".join(f"\x1b[30;107m{line}\x1b[0m" for line in lines)  # black on bright white
