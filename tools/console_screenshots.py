"""Draws docs/console/*.png: runs the demo, asks it some things, and takes a picture of each page of the console.

`python -m tools.console_screenshots`; needs chromium. Each page is drawn in light and in dark.
"""

import asyncio
import http.client
import io
import json
import secrets
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from playwright.async_api import Browser, Page, Playwright, ViewportSize, async_playwright

from masa_node.accounts.sessions import hash_of
from masa_node.devnet.demo import DemoLlm, run_demo
from masa_node.node.node import Node
from masa_node.node.settings.environment import Settings
from masa_node.telemetry import log
from masa_node.upstreams.demo import MODEL

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "console"
PAGES = ("home", "ask", "races", "race", "network", "requests")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZE: ViewportSize = {"width": 1200, "height": 800}
COLOURS = 200  # of a picture
ASK = "Why does the first valid piece win?"


def chromium() -> str | None:
    """Where the browser is, if there is one."""
    return shutil.which("chromium")  # Debian's; others have it by this name, too


# As root it cannot have its sandbox; it sees pages of this machine alone. A process for each page would take as long to
# start as the page to be drawn.
OPTIONS = ("--no-sandbox", "--renderer-process-limit=1", "--disable-site-isolation-trials")


@asynccontextmanager
async def a_browser(playwright: Playwright) -> AsyncIterator[Browser]:
    """The browser, without a window."""
    browser = await playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
    try:
        yield browser
    finally:
        await browser.close()


async def draw(node: Node, folder: Path) -> list[Path]:
    """All pictures of this node's console, as its owner sees it."""
    drawn: list[Path] = []
    async with async_playwright() as playwright, a_browser(playwright) as browser:
        for scheme in SCHEMES:
            context = await browser.new_context(viewport=SIZE, color_scheme=scheme, locale="en-GB")
            page = await context.new_page()
            await page.goto(owners_link(node))
            await page.wait_for_selector("main#main h1")
            for name in PAGES:
                await _turn_to(page, node.url, name)
                drawn.append(folder / f"{name}-{scheme}.png")
                _save(await page.screenshot(), drawn[-1])
            await context.close()
    return drawn


def owners_link(node: Node) -> str:
    """As `masa-node console` makes it."""
    token = secrets.token_urlsafe()
    node.access.sessions.offer(hash_of(token.encode()), time.time())
    return f"{node.url}/console/#token={token}"


async def _turn_to(page: Page, url: str, name: str) -> None:
    place = {"home": "", "race": "races"}.get(name, name)
    await page.goto(f"{url}/console/#/{place}")
    await page.wait_for_selector("main#main h1")
    if name == "home":
        await page.wait_for_selector(".findings li")
    if name == "ask":
        await page.get_by_label("Your question").fill(ASK)
        await page.get_by_role("button", name="Ask", exact=True).click()
        await page.wait_for_selector(".question .lanes")
    if name == "race":
        await page.click("table.races tbody tr:nth-child(2) a")
        await page.wait_for_selector(".replayed")
    if name in ("races", "requests", "network"):
        await page.wait_for_selector("table tbody tr")
    await page.wait_for_function("() => !document.body.innerText.includes('Asking the node')")
    await page.mouse.move(0, 0)
    await page.evaluate("document.activeElement?.blur()")


def _save(picture: bytes, path: Path) -> None:
    """With the colours that are most of it: pages are flat, and what is between two of them is the edge of a letter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(picture)) as image:
        pixels = np.asarray(image.convert("RGB"))
    colours, which, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    kept = colours[np.argsort(-counts)[:COLOURS]]
    nearest = np.square(colours[:, None].astype(int) - kept[None]).sum(axis=2).argmin(axis=1).astype(np.uint8)
    small = Image.fromarray(nearest[which].reshape(pixels.shape[:2]), "P")
    small.putpalette(kept.tobytes())
    small.save(path, optimize=True)


# ---- something to be seen ----


def _ask(url: str, model: str, headers: dict[str, str], read_bytes: int = -1) -> None:
    """One question; with `read_bytes` its caller leaves in the middle."""
    connection = http.client.HTTPConnection(str(urlsplit(url).hostname), urlsplit(url).port, timeout=20)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": ASK}], "stream": True})
    connection.request("POST", "/v1/chat/completions", body, headers)
    connection.getresponse().read(*([read_bytes] if read_bytes >= 0 else []))
    connection.close()


async def _traffic(url: str) -> None:
    asked = [
        ({}, MODEL),
        ({"X-Masa-Race": "hedge"}, MODEL),
        ({}, "llama-404"),
        ({}, MODEL),
        ({"X-Masa-Race": "all;width=1"}, MODEL),
    ]
    for headers, model in asked * 2:
        await asyncio.to_thread(_ask, url, model, headers)
    await asyncio.to_thread(_ask, url, MODEL, {}, 200)
    await asyncio.to_thread(_ask, url, MODEL, {})


async def _run(folder: Path) -> None:
    made: list[asyncio.Task[None]] = []

    async def make(node: Node) -> None:
        try:
            await _traffic(node.url)
            for path in await draw(node, folder):
                print(f"{path.name}: {path.stat().st_size // 1000} kB")
        finally:
            signal.raise_signal(signal.SIGTERM)

    def ready(node: Node, *_: object) -> None:
        made.append(asyncio.create_task(make(node)))

    await run_demo(Settings(port=0, port_is_set=True), DemoLlm(""), _Quiet(), ready)
    await made[0]


class _Quiet:
    """Nobody is told how the start went."""

    def on_listening(self, address: str, node: Node) -> None:
        """See `StartListener`."""

    def on_ready(self, address: str, node: Node) -> None:
        """See `StartListener`."""


def main() -> None:
    """See the module."""
    log.configure("error", "auto")
    if chromium() is None:
        sys.exit("There is no chromium: `apt install chromium` (Debian) has it.")
    asyncio.run(_run(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))


if __name__ == "__main__":
    main()
