"""The pictures of the console in docs/: all are there, and small."""

import re

import pytest
from PIL import Image

from tests.docs.pages import ROOT
from tools.console_screenshots import FOLDER, PAGES, SCHEMES, SIZE

MAX_BYTES = 80_000
NAMES = [f"{page}-{scheme}.png" for page in PAGES for scheme in SCHEMES]


@pytest.mark.parametrize("name", NAMES)
def test_each_page_has_a_small_picture_in_light_and_in_dark(name: str) -> None:
    path = FOLDER / name
    assert path.stat().st_size <= MAX_BYTES, "run `make screenshots`"
    with Image.open(path) as picture:
        assert picture.size == (SIZE["width"], SIZE["height"])


def test_some_stand_in_the_readme_with_words_for_who_does_not_see_them() -> None:
    shown = re.findall(r"!\[([^]]+)\]\(docs/console/([a-z-]+\.png)\)", (ROOT / "README.md").read_text("utf-8"))
    assert 2 <= len(shown) <= 4
    assert {name for _, name in shown} <= set(NAMES)
    assert all(len(words) > 20 for words, _ in shown)
