"""Text of other nodes, made safe to print. Pure."""

MAX_MESSAGE_CHARS = 500  # of a failure: two sentences


def sanitize(text: str) -> str:
    """A stranger's words made safe to print: one line, printable, short."""
    line = " ".join(text[: 2 * MAX_MESSAGE_CHARS].split())[:MAX_MESSAGE_CHARS]
    return line if line.isprintable() else "".join(char if char.isprintable() else "?" for char in line)
