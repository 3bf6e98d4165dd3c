"""`make mutants` is red for a survivor that nobody has explained, and for an explanation of none."""

import ast

from tools.explained_mutants import EXPLAINED
from tools.mutants import SOURCES, TARGETS, Mutant, changes_in, complaints, mutants

SOURCE = """
LIMIT = 3

class Rule:
    code = "x"

    def holds(self, size: int) -> bool:
        most = LIMIT + 1
        return size < most
"""


def survivor(location: str, change: str) -> Mutant:
    return Mutant(1, location, change, ast.Module([], []))


def test_a_mutant_says_where_it_is_and_what_was_changed() -> None:
    found = {(mutant.location, mutant.change) for mutant in mutants(SOURCE)}
    assert {("LIMIT", "to 4: 3"), ("code", "to 'xx': 'x'"), ("holds", "to LtE: size < most")} <= found
    assert ("holds", "to 2: 1") in found


def test_survivors_that_are_all_explained_are_well() -> None:
    assert complaints("m", [survivor("f", "a"), survivor("g", "b")], {("f", "a"): "why", ("g", "b"): "why"}) == []


def test_one_explanation_is_for_one_survivor() -> None:
    assert len(complaints("m", [survivor("f", "a")] * 2, {("f", "a"): "why"})) == 1


def test_a_new_survivor_is_named() -> None:
    (said,) = complaints("m", [survivor("f", "a"), survivor("g", "a")], {("f", "a"): "why"})
    assert said == "m:1 survived: 'g', 'a'"


def test_an_explanation_of_what_does_not_survive_is_named() -> None:
    (said,) = complaints("m", [], {("f", "a"): "why"})
    assert "did not survive" in said


def test_each_explanation_is_of_a_mutant_that_there_is() -> None:
    """A quick look that `make test` can take; whether it survives `make mutants` tells."""
    for module, explained in EXPLAINED.items():
        assert module in TARGETS
        tree = ast.parse(SOURCES.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8"))
        assert set(explained) <= {key for *_, key in changes_in(tree)}
