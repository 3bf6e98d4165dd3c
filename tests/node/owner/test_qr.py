"""QR codes, read back by hand: what is drawn is the code of the link, and stays one in a terminal."""

import re

import pytest

from masa_node.network.links.invites import MAX_LINK_CHARS
from masa_node.node.owner.qr import QUIET_MODULES, qr_for_terminal, qr_rows

FINDER = ["1111111", "1000001", "1011101", "1011101", "1011101", "1000001", "1111111"]
LINK = "masa1-" + "ab2" * 60


def blocks(row: str, upper: str, lower: str) -> list[str]:
    return ["".join(str(int(char in halves)) for char in row) for halves in (upper, lower)]


def test_a_code_is_square_with_its_three_finders_and_no_quiet_zone() -> None:
    rows = qr_rows(LINK)
    assert {len(row) for row in rows} == {len(rows)}
    assert set("".join(rows)) == {"0", "1"}
    assert [row[:7] for row in rows[:7]] == FINDER
    assert [row[-7:] for row in rows[:7]] == FINDER
    assert [row[:7] for row in rows[-7:]] == FINDER


def test_the_terminal_shows_the_same_with_a_quiet_zone() -> None:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in qr_for_terminal(LINK).split("\n")]
    drawn = [row for line in lines for row in blocks(line, "▀█", "▄█")]
    inner = [row[QUIET_MODULES:-QUIET_MODULES] for row in drawn[QUIET_MODULES:]]
    rows = qr_rows(LINK)
    assert inner[: len(rows)] == rows
    assert "1" not in "".join([*drawn[:QUIET_MODULES], *inner[len(rows) :]])


def test_the_longest_link_fits_and_a_longer_text_is_refused() -> None:
    assert len(qr_rows("a" * MAX_LINK_CHARS)) <= 177  # version 40
    with pytest.raises(ValueError, match="characters"):
        qr_rows("a" * (MAX_LINK_CHARS + 1))
