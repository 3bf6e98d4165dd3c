import pytest

from masa_node.chat.request import Endpoint
from masa_node.dialects.bodies.glance import glance
from tests.routing.running.test_steps import BODIES, check, filled
from tests.virtual_time import virtual_time

pytestmark = pytest.mark.untraced
GLANCED_AT = {
    **BODIES,
    "models in braces": filled(b'{"model":0},', b'{"x":[', b'0],"model":"tiny"}'),
    "models in far braces": filled(b'"model":0,', b'{"x":{', b'"a":0},"model":"tiny"}'),
    "models behind texts": filled(b'{"a":"%s","model":0},' % (b'\\"x' * 2_000), b'{"x":[', b'0],"model":"tiny"}'),
    "models behind brackets": filled(b'%s"a":0,"model":0},' % (b'{"a":' * 2_000), b'{"x":[', b'0],"model":"tiny"}'),
    "models that are none": filled(b'"model" ,', b'{"x":[', b'0],"model":"tiny"}'),
    "names of streams": filled(b'"upstream":0,', b'{"x":{', b'"a":0},"model":"tiny"}'),
    "escaped letters": filled(rb"\u0060", b'{"x":"', b'","model":"tiny"}'),
}


@pytest.mark.parametrize("body", GLANCED_AT.values(), ids=GLANCED_AT.keys())
@virtual_time
async def test_no_glance_at_a_request_holds_the_loop(body: bytes) -> None:
    async def reading() -> None:
        glance(body, Endpoint.OLLAMA_CHAT)

    await check(reading)
