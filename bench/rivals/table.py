"""The table of rivals for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figures
from bench.report import number

BEGIN = "<!-- rivals: written by `make bench RIVALS=1`; changes here are lost -->"
END = "<!-- /rivals -->"

FAILURE_MAX = 200

_COLUMNS = (
    ("requests/s", "requests"),
    ("CPU a request, us", "cpu_request"),
    ("100 kB: CPU, us", "cpu_body"),
    ("1 000 streams: pieces/s", "paced_1000_rate"),
    ("CPU a piece, us", "paced_1000_cpu"),
    ("p99, ms", "paced_1000_p99"),
    ("MB idle", "rss_idle"),
    ("MB, 1 000 streams", "rss_1000"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: its name in the figures, and what it is. A rival that could not be measured says `why_not`."""

    name: str
    version: str
    written_in: str
    is_rewriting: bool = False
    has_few_streams: bool = False
    why_not: str = ""


def table(figures: Figures, entries: Sequence[Entry], about: Mapping[str, str]) -> str:
    """Markdown, between the markers."""
    measured = [entry for entry in entries if any(entry.name in values for values in figures.values.values())]
    lines = [BEGIN, _head(figures, about), ""]
    lines += [f"| gateway | {' | '.join(name for name, _ in _COLUMNS)} | CPU a request, of nginx's |"]
    lines += ["|---|" + "---|" * (len(_COLUMNS) + 1)]
    lines += [_row(figures, entry) for entry in measured]
    lines += ["", *_notes(figures, entries, measured), END]
    return "\n".join(lines)


def _head(figures: Figures, about: Mapping[str, str]) -> str:
    worst = max(figures.foreign_cpu, default=0.0)
    return (
        f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}; the node on Python {about['python']}. Other "
        f"programs used up to {worst:.0%} of the machine. {about['run']}, all taking turns, each on one core."
    )


def write(text: str, page: Path) -> None:
    """Put it in place of what is between the markers of this page; raises what `around_table` does."""
    before, after = around_table(page)
    page.write_text(before + text + after, "utf-8")


def around_table(page: Path) -> tuple[str, str]:
    """What stands before the table on this page, and behind it; raises ValueError without a place for it, OSError."""
    whole = page.read_text("utf-8")
    begin, end = whole.find(BEGIN), whole.find(END)
    if not 0 <= begin < end:
        raise ValueError(f"{page} has no place for the table: the lines {BEGIN} and {END}")
    return whole[:begin], whole[end + len(END) :]


def _row(figures: Figures, entry: Entry) -> str:
    cells = [_cell(figures, key, entry.name) for _, key in _COLUMNS]
    own, nginx = figures.median("cpu_request", entry.name), figures.median("cpu_request", "nginx")
    cells += [f"{number(own / nginx)} x" if own and nginx else "-"]
    name = f"{entry.name} {entry.version} ({entry.written_in})"
    return f"| {f'**{name}**' if entry.name == 'masa' else name} | {' | '.join(cells)} |"


def _cell(figures: Figures, key: str, name: str) -> str:
    value = figures.median(key, name)
    if value is None:
        return "-"
    marks = (">" if (key, name) in figures.floors else "") + ("~" if figures.scatters(key, name) else "")
    return marks + number(value)


def _notes(figures: Figures, entries: Sequence[Entry], measured: Sequence[Entry]) -> list[str]:
    notes = ["- `~`: the repeats lie further apart than a quarter of the median."]
    if any(name in [entry.name for entry in measured] for _, name in figures.floors):
        notes.append("- `>`: its core was less than 90 % busy, so the load side (or another program) was the limit.")
    for entry in measured:
        if entry.is_rewriting:
            notes.append(f"- {entry.name} rewrites answers: their text is checked. The others' are, byte for byte.")
        if entry.has_few_streams:
            notes.append(f"- {entry.name} is not asked for 1 000 streams: it does not bring them to their end.")
    notes += [f"- {entry.name} is missing: {entry.why_not}." for entry in entries if entry.why_not]
    return notes + [f"- {failure.splitlines()[0][:FAILURE_MAX]}" for failure in figures.failures]
