"""The figures as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from bench.figures import ROWS, Figures, RaceCell, Row

SUBJECTS = ("direct", "nginx", "masa", "hop")
LABEL_WIDTH = 48
RATIOS = (("masa", "direct"), ("masa", "nginx"), ("hop", "masa"))  # of whom, to whom

STALLED_P99 = 1.3  # of hedge with a stalled peer in ten: of the p99 without
EXTRA_REQUESTS = 0.10

NOTES = """\
direct: load -> mock. nginx, masa: load -> it -> mock. hop: load -> node -> its peer -> mock. Medians of the repeats.
~  the repeats lie further apart than a quarter of the median
>  the process was less than 90 % busy: the load side (or another program) was the limit"""


def report(figures: Figures) -> str:
    """All tables."""
    parts = [_table(figures)] if figures.values else []
    parts += [_races(figures.races)] if figures.races else []
    parts += ["after races:\n" + "\n".join(figures.leaks)] if figures.leaks else []
    parts += ["stakes:\n" + "\n".join(figures.stakes)] if figures.stakes else []
    return "\n\n".join(parts)


def _races(cells: list[RaceCell]) -> str:
    """The simulation's, with what hedging is meant to reach."""
    lines = [
        f"{'races (virtual time): time to the first piece':{LABEL_WIDTH}}      p50 [s]      p99 [s]   asks/request"
    ]
    for cell in cells:
        stalled = f", {cell.stalled} stalled" if cell.stalled else ""
        label = f"{cell.peers} peers{stalled}, {cell.rule}"
        numbers = f"{cell.p50_s:>13.3f}{cell.p99_s:>13.3f}{cell.requests:>15.3f}"
        lines.append(f"{label:{LABEL_WIDTH}}{numbers}{_no_answer(cell)}{_hedge_verdict(cell, cells)}")
    return "\n".join(lines)


def _no_answer(cell: RaceCell) -> str:
    return f"  {cell.failed} got no answer" if cell.failed else ""


def _hedge_verdict(cell: RaceCell, cells: list[RaceCell]) -> str:
    """Of `hedge` with a stalled peer, beside the same without."""
    if cell.rule != "hedge" or not cell.stalled:
        return ""
    healthy = next(other for other in cells if (other.peers, other.stalled, other.rule) == (cell.peers, 0, cell.rule))
    ratio = cell.p99_s / healthy.p99_s
    met = ratio <= STALLED_P99 and cell.extra <= EXTRA_REQUESTS
    return (
        f"  p99 {ratio:.2f} x healthy (<= {STALLED_P99:g}), {cell.extra:.1%} extra asks (<= {EXTRA_REQUESTS:.0%})"
        f"  {'met' if met else 'MISSED'}"
    )


def _table(figures: Figures) -> str:
    """All rows that were measured, with ratios and targets."""
    subjects = [name for name in SUBJECTS if any(name in values for values in figures.values.values())]
    ratios = [(of, to) for of, to in RATIOS if of in subjects and to in subjects]
    header = [f"{'':{LABEL_WIDTH}}", *(f"{name:>13}" for name in subjects)]
    header += [f"{f'{of}/{to}':>14}" for of, to in ratios] + ["  target"]
    lines = ["".join(header)]
    lines += [_line(figures, row, subjects, ratios) for row in ROWS.values() if row.key in figures.values]
    return "\n".join([*lines, "", NOTES])


def _line(figures: Figures, row: Row, subjects: list[str], ratios: list[tuple[str, str]]) -> str:
    cells = [f"{f'{row.label} [{row.unit}]':{LABEL_WIDTH}}"]
    cells += [f"{_cell(figures, row.key, name):>13}" for name in subjects]
    cells += [f"{_ratio(figures, row, of, to):>14}" for of, to in ratios]
    value = figures.median(row.key, row.of)
    if row.target:
        verdict = "" if value is None else "  met" if row.target.is_met(value) else "  MISSED"
        cells.append(f"  {row.of} {row.target}{verdict}")
    return "".join(cells)


def _cell(figures: Figures, key: str, subject: str) -> str:
    value = figures.median(key, subject)
    if value is None:
        return "-"
    mark = ">" if (key, subject) in figures.floors else ""
    return mark + ("~" if figures.scatters(key, subject) else "") + number(value)


def _ratio(figures: Figures, row: Row, of: str, to: str) -> str:
    value, other = figures.median(row.key, of), figures.median(row.key, to)
    if value is None or not other or other < 0:
        return "-"
    return f"{value / other:.3g} x"


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def targets(figures: Figures) -> dict[str, dict[str, Any]]:
    """What the node was meant to reach, where it was measured."""
    found: dict[str, dict[str, Any]] = {}
    for row in ROWS.values():
        value = figures.median(row.key, row.of)
        if row.target and value is not None:
            found[row.key] = {"target": str(row.target), "value": value, "met": row.target.is_met(value)}
    return found


def as_json(figures: Figures, machine: dict[str, str], mode: str) -> str:
    """Everything, every repeat included."""
    rows = [
        {
            "key": key,
            "label": ROWS[key].label,
            "unit": ROWS[key].unit,
            "subject": subject,
            "median": figures.median(key, subject),
            "values": values,
            "load_side_was_the_limit": (key, subject) in figures.floors,
        }
        for key in ROWS
        for subject, values in figures.values.get(key, {}).items()
    ]
    document = {
        "machine": machine,
        "mode": mode,
        "figures": rows,
        "targets": targets(figures),
        "races": [asdict(cell) for cell in figures.races],
        "leaks": figures.leaks,
        "stakes": figures.stakes,
        "foreign_cpu_shares": figures.foreign_cpu,
        "failures": figures.failures,
    }
    return json.dumps(document, indent=1) + "\n"
