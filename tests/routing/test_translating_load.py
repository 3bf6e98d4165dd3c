"""The translator is loaded for the first request that needs it: others wait for that, and the event loop does not.

Covers: `translating`.
"""

import subprocess
import sys

# In a process of its own: in this one the translator is there already.
_TWO_AT_ONCE = """
import asyncio, importlib.abc, sys, threading
from masa_node.chat.request import Endpoint, Request, RequestId
from masa_node.routing.translating import translation_of

begun, go_on = threading.Event(), threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "masa_node.dialects.translation.collecting":
            begun.set()
            print("the loop goes on" if go_on.wait(10) else "the loop stands still")

async def main():
    body = b'{"model":"tiny","messages":[{"role":"user","content":"hi"}]}'
    request = Request(RequestId("r-1"), Endpoint.OPENAI_CHAT, "tiny", False, body, (), 1e9, 1e9)
    first = asyncio.create_task(translation_of(request, [Endpoint.ANTHROPIC_MESSAGES]))
    await asyncio.to_thread(begun.wait)
    second = asyncio.create_task(translation_of(request, [Endpoint.ANTHROPIC_MESSAGES]))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not second.done()
    go_on.set()
    assert await first and await second

sys.meta_path.insert(0, Slow())
asyncio.run(main())
"""


def test_the_loop_goes_on_while_several_requests_wait_for_the_translator() -> None:
    done = subprocess.run([sys.executable, "-c", _TWO_AT_ONCE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("the loop goes on\n", "")
