"""Pictures and files between data URLs and base64 with a media type."""

import base64
from collections.abc import Iterable

from masa_node.dialects.translation.conversation import Document, Image, Names, Part, Text, ToolResult
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.wire import MAX_DATA_CHARS

_DATA = "data:"
# The first characters of the base64 of each format's signature; for formats that do not say what a picture is.
_SIGNATURES = (("iVBOR", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))
DEFAULT_IMAGE, _DEFAULT_FILE = "image/png", "application/pdf"


def image_of(url: str, detail: str | None = None) -> Image:
    """The picture at this URL; a data URL is the picture itself. Raises `NotTranslatable` for one beyond bounds."""
    detail = None if detail == "auto" else detail  # which is what is meant when nothing is said
    if not url.startswith(_DATA):
        return Image(url=url, detail=detail)
    media_type, data = split_data_url(url)
    return Image(media_type=media_type_of(data, media_type), data=data, detail=detail)


def document_of(data: str, name: str | None) -> Document:
    """The file in this data URL, or bare base64 of a PDF. Text is taken out of it: few servers read it there.

    Raises `NotTranslatable` for one beyond bounds.
    """
    media_type = ""
    if data.startswith(_DATA):
        media_type, data = split_data_url(data)
    else:
        check_data(data)
    text = _text_in(data) if media_type.startswith("text/") else None
    return Document(name, media_type or _DEFAULT_FILE, data if text is None else None, text)


def _text_in(data: str) -> str | None:
    try:
        return base64.b64decode(data).decode()
    except ValueError:
        return None


def split_data_url(url: str) -> tuple[str, str]:
    """The media type and the base64 of a data URL. Raises `NotTranslatable` where it holds none, or too much."""
    head, comma, data = url[len(_DATA) :].partition(",")
    if not comma or ";base64" not in head:
        raise refuse("data URL", "only data URLs in base64 are understood.")
    check_data(data)
    return head.partition(";")[0], data


def check_data(data: str) -> None:
    """Raises `NotTranslatable` for base64 beyond the bound."""
    if len(data) > MAX_DATA_CHARS:
        raise refuse("data", f"one picture or file may have {MAX_DATA_CHARS} characters of base64.")


def media_type_of(data: str, said: str = "") -> str:
    """What picture this base64 is, by its first bytes: Anthropic refuses one that is not what is `said` of it."""
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), said or DEFAULT_IMAGE)


def drop_details(parts: Iterable[Part], names: Names, losses: Losses) -> None:
    """How closely pictures are to be looked at is left out by name."""
    for part in parts:
        if type(part) is Text:
            continue
        if isinstance(part, ToolResult):
            drop_details(part.parts, names, losses)
        elif isinstance(part, Image) and part.detail is not None:
            losses.drop(names.get("detail", "detail"))


def url_of(media: Image | Document) -> str:
    """A URL that holds or names it; "" where there is neither."""
    if media.data is None:
        return media.url or ""
    return f"data:{media.media_type or DEFAULT_IMAGE};base64,{media.data}"
