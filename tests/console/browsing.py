"""A browser for the console's tests: a page is watched for errors, for what its policy forbids, and for strangers."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import (
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    ViewportSize,
    async_playwright,
    expect,
)

from tests.lacking import lacking
from tools.console_screenshots import a_browser, chromium

PATIENCE_MS = 15_000  # for anything that should come at once, on a busy machine
expect.set_options(timeout=PATIENCE_MS)
AXE = Path(__file__).parent / "axe" / "axe.min.js"
USUAL: ViewportSize = {"width": 1200, "height": 800}
PAGES = ("", "ask", "races", "network", "requests")
# Told by the browser itself, also where nobody looks at its console.
_REPORTS = """
window.reports = [];
addEventListener("securitypolicyviolation", (event) => {
  window.reports.push(`${event.violatedDirective}: ${event.blockedURI}`);
});
"""


class Tabs:
    """Tabs of one browser profile. They are used again, as a fresh one takes a second on a busy machine."""

    def __init__(self, context: BrowserContext) -> None:
        self._context = context
        self._idle: list[Page] = []

    async def take(self) -> Page:
        """One that nobody uses now, in front of the others: behind them a page is drawn once a second."""
        page = self._idle.pop() if self._idle else await self._context.new_page()
        await page.bring_to_front()
        return page

    async def give_back(self, page: Page) -> None:
        """It forgets where it was, and how it looked."""
        await page.evaluate("sessionStorage.clear()")
        await page.goto("about:blank")
        await page.emulate_media(color_scheme="null", reduced_motion="null", forced_colors="null")
        self._idle.append(page)


@contextlib.asynccontextmanager
async def tabs_or_lacking() -> AsyncIterator[Tabs]:
    """Debian's chromium; skips the test in words where there is none."""
    if chromium() is None:
        lacking("no chromium: `apt install chromium` (Debian) has it")
    async with async_playwright() as playwright, a_browser(playwright) as browser:
        context = await browser.new_context(locale="en-GB")
        context.set_default_timeout(PATIENCE_MS)
        await context.add_init_script(_REPORTS)
        yield Tabs(context)


@dataclass
class Visit:
    """One page, and what went wrong on it. `expected` are parts of messages that are no fault."""

    page: Page
    origin: str
    expected: Sequence[str] = ()
    faults: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """While it is open."""
        listeners = {"console": self._said, "pageerror": self._failed, "request": self._asked}
        for event, listener in listeners.items():
            self.page.on(event, listener)  # type: ignore[call-overload] - one for each event
        try:
            yield
        finally:
            for event, listener in listeners.items():
                self.page.remove_listener(event, listener)

    async def turn_to(self, name: str) -> None:
        """Another page of the console, once it is drawn and has the focus; or the gate, if that is in the way."""
        await self.page.goto(f"{self.origin}/console/#/{name}")
        place = name if "/" in name else f"{name}/"
        await self.page.wait_for_selector(f"#app[data-place='{place}'], #app[data-place='gate']")

    async def check(self) -> None:
        """Nothing was wrong."""
        assert self.faults == [], self.faults  # pytest explains asserts of tests alone
        reports = await self.page.evaluate("window.reports")
        assert reports == [], reports

    def _said(self, message: ConsoleMessage) -> None:
        is_expected = any(part in message.text for part in self.expected)
        if message.type in ("error", "warning") and not is_expected:
            self.faults.append(f"{message.type}: {message.text} {message.location}")

    def _failed(self, error: Error) -> None:
        self.faults.append(f"error: {error}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "blob:")):
            self.faults.append(f"asked elsewhere: {request.url}")


@contextlib.asynccontextmanager
async def visit(
    tabs: Tabs,
    url: str,
    expected: Sequence[str] = (),
    viewport: ViewportSize | None = None,
    **media: Any,  # noqa: ANN401 - playwright's own
) -> AsyncIterator[Visit]:
    """A tab that has not yet been at this address. Fails if something was wrong on its page while it was open."""
    page = await tabs.take()
    await page.set_viewport_size(viewport or USUAL)
    await page.emulate_media(**media)
    parts = urlsplit(url)
    visited = Visit(page, f"{parts.scheme}://{parts.netloc}", expected)
    with visited.watched():
        yield visited
        await visited.check()
    await tabs.give_back(page)
