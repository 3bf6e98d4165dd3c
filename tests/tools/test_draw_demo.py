import html
import re
from pathlib import Path

from masa_node.node.settings.environment import Settings
from tools.draw_demo import PICTURE, REQUESTS, record


def told(svg: str) -> str:
    """What is written in the picture."""
    return html.unescape(re.sub(r"<[^>]*>", "", svg)).replace("\xa0", " ")


def test_the_picture_is_what_the_demo_shows(tmp_path: Path) -> None:
    svg = record(Settings(port=0, port_is_set=True, masa_dir=str(tmp_path), llm="none"))
    words = told(svg)
    assert len(re.findall(r"(quick|steady) *━+ *won after \d+ ms", words)) == REQUESTS
    assert f"{REQUESTS} races; won by:" in words
    assert "linked with quick" in words
    assert "url(" not in svg.replace("url(#", "")  # nothing is fetched when it is looked at


def test_the_picture_in_the_documentation_has_the_form_of_a_new_one() -> None:
    words = told(PICTURE.read_text("utf-8"))
    assert words.count("won after") == REQUESTS
    assert "http://127.0.0.1:8080" in words
