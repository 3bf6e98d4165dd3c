"""The console's files as answers: made once, and found by their exact names. Nothing in a path leads anywhere else."""

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

import msgspec

from masa_node.api.http1.reply import RawHeaders
from masa_node.api.http1.request import HeaderPairs
from masa_node.chat.errors import UnknownPath

CONSOLE = "/console/"
HOME = "/console"  # as people type it
INDEX = "index.html"
_NOT_MODIFIED = 304
_REDIRECT = 307
_SHOWN_CHARS = 100
_MOST_TAGS = 16  # of If-None-Match: browsers send one
_CONTENT_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".mjs": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".json": b"application/json",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".ico": b"image/x-icon",
    ".woff2": b"font/woff2",
}
_OTHERS = b"text/plain; charset=utf-8"  # licences, hashes: never run
# A stranger's text that got into a page could load, run, frame or send nothing.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
# Of every answer below /console, errors too; `nosniff` is on every answer of the node.
SAFETY: RawHeaders = [
    (b"content-security-policy", _POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
]


class Found(msgspec.Struct, frozen=True):
    """An answer with more to it than what is written as JSON. `content_type`: another than the endpoint's."""

    value: object
    status: int = 200
    headers: RawHeaders = msgspec.field(default_factory=list[tuple[bytes, bytes]])
    content_type: bytes = b""


class ConsolePages:
    """The files of the console by their names; none of them with CONSOLE=off."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._pages = {name: _page(name, body) for name, body in files.items()}

    def __bool__(self) -> bool:
        return bool(self._pages)

    def holds(self, path: str) -> bool:
        """Is there anything at this path, which `is_console` knows?"""
        return bool(self) and (path == HOME or (path.removeprefix(CONSOLE) or INDEX) in self._pages)

    def missing(self, path: str) -> UnknownPath:
        """That there is not, in words."""
        why = "has no such file" if self else "is off (CONSOLE=off)"
        return UnknownPath(f"There is no {path[:_SHOWN_CHARS]!r} here: the console {why}.")

    def show(self, name: str, headers: HeaderPairs) -> Found:
        """The file of this name, `index.html` for "". The body of a 304 is not sent. Raises `UnknownPath`."""
        page = self._pages.get(name or INDEX)
        if page is None:
            raise self.missing(CONSOLE + name)
        _, etag = page.headers[-1]
        return msgspec.structs.replace(page, status=_NOT_MODIFIED) if etag in _tags(headers) else page

    def lead_there(self) -> Found:
        """From an address that people type to the console."""
        headers = [*SAFETY, (b"location", CONSOLE.encode()), (b"vary", b"accept")]
        return Found(CONSOLE.encode(), _REDIRECT, headers, _CONTENT_TYPES[".html"])


def is_console(path: str) -> bool:
    """Does this path belong to the console, whatever is there?"""
    return path == HOME or path.startswith(CONSOLE)


def wants_page(headers: HeaderPairs) -> bool:
    """Does a browser ask? It names HTML; scripts and clients of LLMs name JSON, or take anything."""
    accepted = b",".join(value for name, value in headers if name == b"accept")
    return any(each.partition(b";")[0].strip().lower() == b"text/html" for each in accepted.split(b","))


def _page(name: str, body: bytes) -> Found:
    etag = b'"' + hashlib.sha256(body).hexdigest()[:32].encode() + b'"'
    return Found(body, 200, [*SAFETY, (b"etag", etag)], _CONTENT_TYPES.get(PurePosixPath(name).suffix, _OTHERS))


def _tags(headers: HeaderPairs) -> list[bytes]:
    given = b",".join(value for name, value in headers if name == b"if-none-match")
    return [each.strip().removeprefix(b"W/") for each in given.split(b",", _MOST_TAGS)]
