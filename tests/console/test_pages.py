"""Every page in a real browser: seen at once, by everybody, with nothing but the keyboard, and without a fault.

Covers: `files`.
"""

import contextlib
from functools import partial
from typing import Any

import pytest
from playwright.async_api import Error, Page, Route, expect

from masa_node import Node
from tests.console.asking import ask
from tests.console.browsing import AXE, PAGES, USUAL, Tabs, Visit, visit
from tests.console.conftest import STRANGERS_NAME
from tools.console_screenshots import owners_link

pytestmark = pytest.mark.asyncio(loop_scope="package")

FIRST_PAINT_MS = 1000.0
TRIES = 5  # the best counts: this machine does other things, too
NARROW = {"width": 320, "height": 640}
ZOOMED = {"width": 600, "height": 400}  # what is left of 1200 by 800
WAYS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "320 px": {"viewport": NARROW},
    "200 % zoom": {"viewport": ZOOMED},
    "forced colours": {"forced_colors": "active"},
}
# Pairs of what is drawn in the ring that share more than the room between lines.
OVERLAPS = """() => {
  const drawn = [...document.querySelectorAll(".ring text, .ring .peer")];
  const boxes = drawn.map((each) => [each.textContent || "a peer", each.getBoundingClientRect()]);
  const shared = (a, b, from, to) => Math.min(a[to], b[to]) - Math.max(a[from], b[from]);
  const meets = (a, b) => shared(a, b, "left", "right") > 1 && shared(a, b, "top", "bottom") > 3;
  const behind = (at) => boxes.slice(at + 1).filter(([, box]) => meets(boxes[at][1], box));
  return boxes.flatMap(([name], at) => behind(at).map(([other]) => [name, other]));
}"""
_REACHABLE = "a[href], button:enabled, input:enabled, select:enabled, textarea:enabled, summary"
_FOCUSED = """() => {
  const at = document.activeElement;
  const isSeen = at.matches("body") || getComputedStyle(at).outlineStyle !== "none";
  return [[...document.querySelectorAll(REACHABLE)].indexOf(at), isSeen];
}""".replace("REACHABLE", repr(_REACHABLE))


async def settled(page: Page) -> None:
    """What the page shows has come."""
    await expect(page.get_by_text("Asking the node")).to_have_count(0)


async def no_violations(page: Page, what: str) -> None:
    """Axe finds nothing on the page as it is."""
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    told = [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]
    assert told == [], f"{what}: {told}"


async def every_page(visited: Visit, node: Node) -> Any:  # noqa: ANN401 - an async generator
    """Each page of the console, and that of one race, with something on it."""
    race = await ask(node.url)
    for name in (*PAGES, f"races/{race.request_id}"):
        await visited.turn_to(name)
        await settled(visited.page)
        yield name


@pytest.mark.parametrize("way", WAYS)
async def test_axe_finds_nothing(tabs: Tabs, demo: Node, way: str) -> None:
    async with visit(tabs, demo.url, **WAYS[way]) as visited:
        async for name in every_page(visited, demo):
            if name == "":  # the first; the others are the same document
                await visited.page.evaluate(AXE.read_text("utf-8"))
            await no_violations(visited.page, f"{name or 'home'}, {way}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_where_something_is_done(tabs: Tabs, demo: Node, scheme: str) -> None:
    async with visit(tabs, demo.url, expected=["401"], color_scheme=scheme) as visited:
        page = visited.page
        await page.goto(f"{demo.url}/console/#token=made-up")
        await page.get_by_role("alert").wait_for()
        await page.evaluate(AXE.read_text("utf-8"))
        await no_violations(page, "the gate")
        await page.goto(owners_link(demo))
        await visited.turn_to("ask")
        await page.get_by_label("Your question").fill("Hello")
        await page.get_by_role("button", name="Ask", exact=True).click()
        await page.get_by_label("The race").wait_for()
        await no_violations(page, "an answer")
        await visited.turn_to("network")
        await page.get_by_role("button", name="Make an invite").click()
        await page.get_by_role("img", name="The invite as a QR code").wait_for()
        await page.get_by_role("button", name="Forget quick").click()
        await page.get_by_role("dialog").wait_for()
        await no_violations(page, "a dialog")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await expect(page.get_by_role("button", name="Forget quick")).to_be_focused()
        await no_violations(page, "an invite")


async def test_nothing_is_wider_than_a_small_phone(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url, viewport=NARROW) as visited:
        async for name in every_page(visited, demo):
            width = await visited.page.evaluate("document.documentElement.scrollWidth")
            assert width <= NARROW["width"], name or "home"


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url) as visited:
        async for name in every_page(visited, demo):
            page = visited.page
            await page.evaluate("document.activeElement.blur()")
            wanted = await page.locator(_REACHABLE).evaluate_all(
                "all => all.flatMap((each, at) => each.checkVisibility() ? [at] : [])"
            )
            reached = set()
            for _ in range(len(wanted) + 3):  # the page's own heading and main take the focus, too
                await page.keyboard.press("Tab")
                at, is_seen = await page.evaluate(_FOCUSED)
                assert is_seen, f"{name or 'home'}: no outline at {at}"
                reached.add(at)
            assert set(wanted) - reached == set(), name or "home"


async def test_the_skip_link_leads_past_the_pages(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to("network")
        await visited.page.evaluate("document.activeElement.blur()")
        await visited.page.keyboard.press("Tab")
        await visited.page.keyboard.press("Enter")
        assert await visited.page.evaluate("document.activeElement.id") == "main"
        assert visited.page.url.endswith("#/network")


async def test_the_first_paint_comes_within_a_second(tabs: Tabs, demo: Node) -> None:
    paints: list[float] = []
    while not paints or (paints[-1] >= FIRST_PAINT_MS and len(paints) < TRIES):
        async with visit(tabs, demo.url) as visited:
            await visited.turn_to("")
            paints.append(
                await visited.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
    assert min(paints) < FIRST_PAINT_MS


async def test_the_page_does_not_jump_while_it_is_filled(tabs: Tabs, demo: Node) -> None:
    counted = """window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((each) => {
      window.shift += each.hadRecentInput ? 0 : each.value; })).observe({ type: "layout-shift", buffered: true });"""
    async with visit(tabs, demo.url) as visited:
        await visited.page.add_init_script(counted)
        await visited.turn_to("races")
        await settled(visited.page)
        assert await visited.page.evaluate("window.shift") < 0.1  # what web.dev calls good


async def test_a_browser_at_the_nodes_address_is_led_to_the_console(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url) as visited:
        await visited.page.goto(f"{demo.url}/")
        await visited.page.wait_for_selector("main h1")
        assert visited.page.url.startswith(f"{demo.url}/console/")


async def test_a_strangers_name_stays_text(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url) as visited:
        async for name in every_page(visited, demo):
            assert await visited.page.locator("img").count() == 1, f"{name}: the mark alone"
        await visited.turn_to("network")
        await visited.page.locator("th", has_text=STRANGERS_NAME).wait_for()


async def test_how_the_node_is_reached_is_said_in_words_and_not_by_a_colour_alone(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to("network")
        await expect(visited.page.locator(".tag.bad")).to_have_text("address: failed")
        await expect(visited.page.locator(".tag.good", has_text="relay")).to_have_text("relay")


async def give_peers(count: int, route: Route) -> None:
    """So many like the first that there is."""
    found = await (await route.fetch()).json()
    many = [{**found["peers"][0], "id": f"{number:064x}", "name": f"a peer no. {number}"} for number in range(count)]
    with contextlib.suppress(Error):  # the page has gone on, and gets the next one's
        await route.fulfill(json={**found, "peers": many})


@pytest.mark.parametrize("viewport", [USUAL, NARROW], ids=["usual", "narrow"])
async def test_no_words_of_the_ring_lie_on_others_or_on_a_peer(tabs: Tabs, demo: Node, viewport: Any) -> None:  # noqa: ANN401
    async with visit(tabs, demo.url, viewport=viewport) as visited:
        page = visited.page
        for count in (1, 2, 3, 5, 8, 12, 13, 15, 16, 40):
            give = partial(give_peers, count)
            await page.route("**/api/v1/peers", give)
            await visited.turn_to("")
            await visited.turn_to("network")
            await expect(page.locator(".ring .peer")).to_have_count(min(count, 16))
            assert await page.evaluate(OVERLAPS) == [], f"{count} peers"
            await page.unroute("**/api/v1/peers", give)
