"""What users of gateways told in the last year, with the number of the thread: each as the fact that it is right here.

Covers: `anthropic.request_reader`, `openai_chat.answer_reader`, `openai_chat.request_writer`.
"""

from typing import Any

import pytest

from tests.dialects.translation.calling import CHAT, HI, MESSAGES, OLLAMA, RESPONSES, RUN, request, translation_of

ASK = {"max_tokens": 9}
HEADER = "x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=sdk-cli; cch={};"


def _with_system(target: Any, system: Any) -> tuple[bytes, str]:
    translation = translation_of(MESSAGES, target, **ASK, system=system)
    return translation.body, dict(translation.headers).get("x-masa-dropped", "")


@pytest.mark.parametrize("target", [CHAT, RESPONSES, OLLAMA, RUN])
def test_the_header_in_claude_codes_prompt_does_not_keep_a_server_from_finding_it_in_its_cache(target: Any) -> None:
    """claude-code 68900, vLLM 36829, claude-code-router 1343: it differs with each request, before all else."""
    found = [
        _with_system(target, [{"type": "text", "text": HEADER.format(nonce)}, {"type": "text", "text": "You are"}])
        for nonce in ("36ee5", "0aaa9")
    ]
    assert found[0] == found[1]
    assert found[0][1] == "system.x-anthropic-billing-header"
    assert found[0][0] == _with_system(target, "You are")[0]
    assert found[0][0] == _with_system(target, HEADER.format("1") + "\nYou are")[0]


def test_a_prompt_that_only_speaks_of_such_a_header_is_left_as_it_is() -> None:
    body, dropped = request(MESSAGES, CHAT, **ASK, system="Strip x-anthropic-billing-header: it differs.", messages=HI)
    assert body["messages"][0]["content"] == "Strip x-anthropic-billing-header: it differs."
    assert not dropped
