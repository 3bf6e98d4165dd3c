"""The beginning of what somebody sent, as it may be shown: their own words help more than any of ours."""

MAX_QUOTED_CHARS = 200


def quoted(data: bytes) -> str:
    """One line, printable, short, in quotes; "an empty body" if there is no text."""
    text = " ".join(data[: MAX_QUOTED_CHARS * 4].decode("utf-8", "replace").split())
    return repr(text[:MAX_QUOTED_CHARS]) if text else "an empty body"
