"""What others wrote is theirs, byte for byte; all of it is small; and no page takes text for markup."""

import hashlib
import re
from pathlib import Path

import pytest

from masa_node.console.files import read_files

AXE = Path(__file__).parent / "axe" / "axe.min.js"
FILES = read_files()
OWN_SCRIPTS = {name: body.decode() for name, body in FILES.items() if name.endswith(".js") and "vendor/" not in name}
LIT = "vendor/lit-html/"
# Of the packages that npm has: lit-html 3.3.3 (sha512-el8M6jK2...) and axe-core 4.14.1 (sha512-FHfa+lmN...).
LIT_SHA256 = {
    "lit-html.js": "b878e7f95dec8a9b6e9b217faca6b6a11bad82ebc44c0caa77419ed83edd81f2",
    "directive.js": "3344c4f41c69cd0701d3937e8f9ef90bd845614bf6456d0b8314b7c51d415b9d",
    "directive-helpers.js": "f7fb1154b8f72ed2cc08b05eaeed71c99270e9ad2d48620ed24688a1af4c2b62",
    "directives/repeat.js": "083140026ecd8665fedd15b17769f9d516252a9f1502f1e91e6967686ee82626",
    "LICENSE.txt": "2b66f9390afde29edfe4314daff93f01fb182e1178053e228120178987e5db75",
}
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
MAX_BYTES = 150_000
MAX_LINES = 400  # as of Python's modules


MARKUP_OR_CODE = re.compile(
    r"unsafe(?:HTML|SVG)|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|\sstyle="
)


def imports_of(text: str) -> list[str]:
    return re.findall(r'^import .* from "([^"]+)";$', text, re.MULTILINE)


def test_lit_html_is_as_it_was_published() -> None:
    found = {name.removeprefix(LIT): hashlib.sha256(FILES[name]).hexdigest() for name in FILES if name.startswith(LIT)}
    sums = FILES[f"{LIT}SHA256SUMS.txt"].decode()
    del found["SHA256SUMS.txt"]
    assert found == LIT_SHA256
    assert dict(reversed(line.split("  ")) for line in sums.splitlines()) == LIT_SHA256


def test_axe_is_as_it_was_published_with_its_licence() -> None:
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() == AXE_SHA256
    assert "Mozilla Public License, version 2.0" in (AXE.parent / "LICENSE.txt").read_text("utf-8")


def test_all_files_together_are_small() -> None:
    assert sum(map(len, FILES.values())) < MAX_BYTES


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".js", ".css")) and "vendor/" not in name])
def test_a_file_can_be_read(name: str) -> None:
    text = FILES[name].decode()
    assert text.startswith("/*"), "its first lines say what lives in it"
    assert text.count("\n") <= MAX_LINES


@pytest.mark.parametrize("name", OWN_SCRIPTS)
def test_no_script_takes_text_for_markup_or_code(name: str) -> None:
    found = MARKUP_OR_CODE.findall(OWN_SCRIPTS[name])
    assert found == []


def test_addresses_of_links_are_the_consoles_own() -> None:
    links = [link for text in OWN_SCRIPTS.values() for link in re.findall(r'href="?([^"\s>]+)', text)]
    assert links, "there are some"
    assert [link for link in links if not link.startswith("#")] == []


def test_nothing_comes_from_elsewhere() -> None:
    imports = [path for text in OWN_SCRIPTS.values() for path in imports_of(text)]
    assert imports, "there are some"
    assert [path for path in imports if not path.startswith("./") and not path.startswith("../")] == []
    assert b"http" not in FILES["style.css"] + FILES["pictures.css"] + FILES["index.html"]


def test_each_script_is_used() -> None:
    folder = Path("/")
    used = {"/app.js"}
    for name, text in OWN_SCRIPTS.items():
        for path in imports_of(text):
            used.add(str((folder / name).parent.joinpath(path).resolve()))
    assert {f"/{name}" for name in OWN_SCRIPTS} - used == set()


def test_the_page_asks_for_all_scripts_at_once() -> None:
    asked = re.findall(r'<link rel="modulepreload" href="([^"]+)">', FILES["index.html"].decode())
    assert {*asked, "app.js"} == {name for name in FILES if name.endswith(".js")}
