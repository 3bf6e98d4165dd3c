"""Draws docs/demo.svg: runs the demo, asks three times, and records what it showed. `python -m tools.draw_demo`."""

import asyncio
import contextlib
import http.client
import io
import json
import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from masa_node.cli.demo import DemoForPeople
from masa_node.cli.embedded import llm_of_demo
from masa_node.devnet.demo import DemoLlm, run_demo
from masa_node.node.node import Node
from masa_node.node.settings.environment import Settings
from masa_node.telemetry import log
from masa_node.upstreams.demo import MODEL

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "demo.svg"
REQUESTS = 3
WIDTH_CHARS = 100
ASK_WITHIN_S = 20.0
LOSERS_CANCELLED_WITHIN_S = 0.5
_FONTS = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # they are somebody else's server's


def record(settings: Settings) -> str:
    """The picture, as SVG. Runs the demo for as long as that takes; raises what the demo raises."""
    log.configure("error", "auto")
    printed = io.StringIO()
    with contextlib.ExitStack() as stack, contextlib.redirect_stdout(printed):
        listener = DemoForPeople(stack)
        asking: list[asyncio.Task[None]] = []

        def ready(node: Node, peers: list[Node], llm: DemoLlm) -> None:
            listener.ready(node, peers, llm)
            node.dispatcher.stats.watch = listener.view.happened
            asking.append(asyncio.create_task(_ask_and_stop(node.url, llm.name or MODEL)))

        asyncio.run(run_demo(settings, llm_of_demo(settings), listener, ready))
    for task in asking:
        task.result()
    return _drawn(printed.getvalue(), listener)


def _drawn(printed: str, listener: DemoForPeople) -> str:
    console = Console(record=True, width=WIDTH_CHARS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text("$ masa-node demo\n" + printed))
    console.print(listener.view)
    return _FONTS.sub("", console.export_svg(title="masa-node demo", unique_id="demo"))


async def _ask_and_stop(url: str, model: str) -> None:
    try:
        for _ in range(REQUESTS):
            await asyncio.to_thread(_ask, url, model)
        await asyncio.sleep(LOSERS_CANCELLED_WITHIN_S)
    finally:
        signal.raise_signal(signal.SIGINT)


def _ask(url: str, model: str) -> None:
    """As the printed curl does."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ASK_WITHIN_S)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = connection.getresponse()
        if answer.status != http.client.OK or b"[DONE]" not in answer.read():
            raise RuntimeError(f"The demo answered {answer.status}, or not whole.")


def main() -> None:
    """See the module."""
    PICTURE.write_text(record(Settings()), "utf-8")
    print(f"docs/{PICTURE.name}")


if __name__ == "__main__":
    main()
