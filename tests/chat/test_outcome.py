from masa_node.chat.outcome import MAX_TRAIL, WON, Attempt, Outcome, abridged


def test_an_outcome_has_no_field_that_could_hold_a_prompt_or_an_answer() -> None:
    held = {*Outcome.__struct_fields__, *Attempt.__struct_fields__}
    assert not {"body", "prompt", "messages", "answer", "headers", "text"} & held
    assert not any(Outcome.__annotations__[name] in (bytes, "bytes") for name in Outcome.__struct_fields__)


def test_few_attempts_are_told_and_the_winner_in_any_case() -> None:
    failed = [Attempt(f"p{number}", "unreachable", 0, 1) for number in range(MAX_TRAIL + 5)]
    won = Attempt("w", WON, 0, 1)
    assert abridged(failed[:3]) == failed[:3]
    assert abridged(failed) == failed[:MAX_TRAIL]
    assert abridged([*failed, won, *failed]) == [*failed[: MAX_TRAIL - 1], won]
    assert abridged([won, *failed]) == [won, *failed[: MAX_TRAIL - 1]]
