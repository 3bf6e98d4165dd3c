"""The console's files as a browser gets them: headers, types, ETags, and no way out of the folder."""

from collections.abc import Iterator

import pytest

from masa_node.api.control.pages import ConsolePages, wants_page
from masa_node.chat.errors import UnknownPath
from tests.api.raw_http import ask_once, get, head, line_to, post
from tests.api.serving import ServingNode

SAFETY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
PAGES = ConsolePages({"index.html": b"<p>", "a/b.js": b"1", "LICENSE": b"MIT", "x.css": b"p {}", "x.svg": b"<svg/>"})
BROWSER = b"Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"
OUTSIDE = [
    b"/console/../index.html",
    b"/console/../console/index.html",
    b"/console/..%2fconsole%2findex.html",
    b"/console/%2e%2e/%2e%2e/version.py",
    b"/console/%2e%2e%2f%2e%2e%2fversion.py",
    b"/console/..%5c..%5cversion.py",
    b"/console//etc/passwd",
    b"/console/%2fetc%2fpasswd",
    b"/console/files.py",
    b"/console/../static/index.html",
    b"/console/index.html%00",
    b"/console/index.html%2f",
    b"/console/./index.html",
    b"/console/INDEX.HTML",
]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    with ServingNode(tmp_path_factory.mktemp("locked"), {"API_KEY": "secret"}) as running:
        yield running


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    with ServingNode(tmp_path_factory.mktemp("without"), {"CONSOLE": "off"}) as running:
        yield running


@pytest.mark.parametrize("target", [b"/console/", b"/console/index.html"])
async def test_the_shell_comes_with_its_safety_and_without_a_key(locked: ServingNode, target: bytes) -> None:
    reply = await ask_once(locked.port, get(target))
    assert (reply.status, reply.header("content-type")) == (200, "text/html; charset=utf-8")
    assert {name: reply.header(name) for name in SAFETY} == SAFETY
    assert reply.header("set-cookie") is None


async def test_what_lies_behind_it_needs_the_key(locked: ServingNode) -> None:
    for target in (b"/api/v1/node", b"/api/v1/races", b"/console", b"/consolex", b"/metrics"):
        expected = 307 if target == b"/console" else 401
        assert (await ask_once(locked.port, get(target))).status == expected


async def test_a_browser_that_has_a_file_is_told_so(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        etag = str((await line.ask(get(b"/console/"))).header("etag"))
        for given in (etag, f'"other", W/{etag}'):
            reply = await line.ask(get(b"/console/", b"If-None-Match: " + given.encode() + b"\r\n"))
            assert (reply.status, reply.body, reply.header("etag")) == (304, b"", etag)
            assert {name: reply.header(name) for name in SAFETY} == SAFETY
        assert (await line.ask(get(b"/console/", b'If-None-Match: "other"\r\n'))).status == 200
        assert await line.is_sane()


async def test_a_head_alone_has_no_body(node: ServingNode) -> None:
    reply = await ask_once(node.port, head(b"HEAD", b"/console/"), to_head=True)
    assert (reply.status, int(str(reply.header("content-length"))) > 0) == (200, True)


@pytest.mark.parametrize("target", OUTSIDE)
async def test_no_path_leads_out_of_the_folder(locked: ServingNode, target: bytes) -> None:
    reply = await ask_once(locked.port, get(target))
    assert (reply.status, b"root:" in reply.body, b"__version__" in reply.body) == (404, False, False)


async def test_a_browser_at_the_root_is_led_to_the_console_and_others_read_the_text(node: ServingNode) -> None:
    reply = await ask_once(node.port, get(b"/", BROWSER))
    assert (reply.status, reply.header("location"), reply.header("vary")) == (307, "/console/", "accept")
    for accept in (b"", b"Accept: */*\r\n", b"Accept: application/json\r\n"):
        reply = await ask_once(node.port, get(b"/", accept))
        assert (reply.status, b"is running" in reply.body) == (200, True)


@pytest.mark.parametrize(
    "request_of",
    [
        get(b"/console"),
        get(b"/console/no-such-file"),
        get(b"/console/%3Cscript%3E"),
        post(b"{}", target=b"/console/"),
        head(b"GET", b"/console/", b"Origin: http://elsewhere.example\r\n"),
    ],
    ids=["redirect", "no file", "no name", "no method", "foreign origin"],
)
async def test_no_answer_below_the_console_is_without_its_safety(locked: ServingNode, request_of: bytes) -> None:
    reply = await ask_once(locked.port, request_of)
    assert reply.status in (307, 403, 404, 405)
    assert {name: reply.header(name) for name in SAFETY} == SAFETY


async def test_with_console_off_there_is_none(without: ServingNode) -> None:
    for target in (b"/console", b"/console/", b"/console/index.html", b"/console/x"):
        reply = await ask_once(without.port, get(target, BROWSER))
        assert (reply.status, b"CONSOLE=off" in reply.body) == (404, True)
    assert (await ask_once(without.port, get(b"/", BROWSER))).status == 200


async def test_a_file_takes_nothing_and_what_is_no_file_is_nowhere(node: ServingNode) -> None:
    assert (await ask_once(node.port, post(b"x", target=b"/console/index.html"))).status == 405
    assert (await ask_once(node.port, post(b"x", target=b"/console/../masa.toml"))).status == 404


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("", b"text/html; charset=utf-8"),
        ("a/b.js", b"text/javascript; charset=utf-8"),
        ("x.css", b"text/css; charset=utf-8"),
        ("x.svg", b"image/svg+xml"),
        ("LICENSE", b"text/plain; charset=utf-8"),
    ],
)
def test_a_file_is_labelled_by_its_name(name: str, content_type: bytes) -> None:
    assert PAGES.show(name, []).content_type == content_type


@pytest.mark.parametrize("name", ["a", "a/", "a/b", "b.js", "/index.html", "../index.html", "index.html/"])
def test_only_whole_names_are_found(name: str) -> None:
    with pytest.raises(UnknownPath, match="no such file"):
        PAGES.show(name, [])


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [(b"text/html", True), (b"application/json, TEXT/HTML;q=0.5", True), (b"*/*", False), (b"text/html5", False)],
)
def test_a_browser_is_known_by_the_html_that_it_takes(accept: bytes, wanted: bool) -> None:  # noqa: FBT001
    assert wants_page([(b"accept", accept)]) is wanted
    assert not wants_page([])
