from masa_node.chat.outcome import Attempt, Outcome


def test_an_outcome_has_no_field_that_could_hold_a_prompt_or_an_answer() -> None:
    held = {*Outcome.__struct_fields__, *Attempt.__struct_fields__}
    assert not {"body", "prompt", "messages", "answer", "headers", "text"} & held
    assert not any(Outcome.__annotations__[name] in (bytes, "bytes") for name in Outcome.__struct_fields__)
