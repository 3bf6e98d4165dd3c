"""Whose fault an error is decides whether the caller's SDK sends the same request again.

Covers: `translating`.
"""

import msgspec
import pytest

from masa_node.chat.errors import ErrorAnswer
from tests.routing.scripted import ScriptedProvider, World, offer
from tests.routing.test_translating import claude
from tests.virtual_time import virtual_time


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (500, "the context length of 8192 tokens is too small for 9000", 400),  # LM Studio's: claudette 740
        (500, "it fell over", 500),
        (503, "overloaded", 503),
        (413, "the context length of 8192 tokens is too small for 9000", 413),
    ],
)
@virtual_time
async def test_a_prompt_that_is_too_long_is_no_fault_of_the_servers(status: int, message: str, told: int) -> None:
    body = msgspec.json.encode({"error": {"message": message}})
    error = ErrorAnswer(f"it answered {status}", status=status, headers=(), body=body, is_json=True)
    world = World()
    world.catalog.put(ScriptedProvider("a", error), [offer()])
    with pytest.raises(ErrorAnswer) as raised:
        await world.answer(claude(world))
    assert raised.value.status == told
