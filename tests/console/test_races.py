"""The heart of the console: a race is seen as it ends, and can be played again.

Covers: `files`.
"""

import asyncio
import re

import pytest
from playwright.async_api import Page, expect

from masa_node import Node
from masa_node.accounts.events import MAX_WAITING
from tests.console.asking import ask
from tests.console.browsing import PATIENCE_MS, Tabs, visit
from tests.console.llms import node_before
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import send, stall, until

pytestmark = pytest.mark.asyncio(loop_scope="package")

RACES = 3
FLOODS = 5
NEARLY_30_S = r"(30\.0|29\.\d) s"  # a deadline counts from when the request came, a picture from when its race began
MISSED_MS = 5000  # as live.js has it
HELD_TIMERS = """ms => {
  const set = setTimeout;
  window.held = [];
  window.setTimeout = (run, after) => (after === ms ? window.held.push(run) : set(run, after));
}"""


async def is_live(page: Page) -> None:
    """From now on the page is told what happens."""
    await expect(page.locator(".state")).to_contain_text("live")


async def test_a_race_appears_when_the_node_tells_of_it_and_nothing_is_asked_for(tabs: Tabs, demo: Node) -> None:
    """The node tells within half a second (`tests/api`); a page that asked from time to time would be later."""
    fetched: list[str] = []
    async with visit(tabs, demo.url) as visited:
        async with visited.page.expect_response(lambda response: "/races?" in response.url):
            await visited.turn_to("races")
        await is_live(visited.page)
        visited.page.on("request", lambda request: fetched.append(request.url) if "/races" in request.url else None)
        for _ in range(RACES):
            race = await ask(demo.url)
            row = visited.page.locator(f"tr[data-request='{race.request_id}']")
            await row.wait_for()
            assert await row.locator("td.picture .bar.won").count() == 1
            assert await row.locator("td.picture .bar.cancelled").count() == 1
        assert fetched == []


async def test_a_replay_ends_with_the_winner_that_the_header_names(tabs: Tabs, demo: Node) -> None:
    race = await ask(demo.url)
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to(f"races/{race.request_id}")
        page, said = visited.page, visited.page.locator(".replayed")
        await expect(said).to_have_attribute("data-winner", race.served_by)
        await page.get_by_label("Moment of the race").press("Home")
        await expect(said).to_have_attribute("data-winner", "")
        await expect(page.locator(".lane .how").nth(1)).to_have_text("not asked yet")
        await page.get_by_label("Speed").select_option("0.5")
        await page.get_by_role("button", name="Play").click()
        await expect(said).to_have_attribute("data-winner", race.served_by)
        await expect(page.get_by_role("button", name="Play")).to_be_visible()


async def test_a_replay_can_be_paused_and_moved(tabs: Tabs, demo: Node) -> None:
    race = await ask(demo.url)
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to(f"races/{race.request_id}")
        page = visited.page
        await page.get_by_label("To the end of the answer").check()  # which took longer
        await page.get_by_role("button", name="Play").click()
        await page.get_by_role("button", name="Pause").click()
        stood = await page.locator(".replay .clock").text_content()
        await page.get_by_label("Moment of the race").press("End")
        await expect(page.locator(".replay .clock")).not_to_have_text(stood or "")
        await expect(page.locator(".replayed")).to_have_attribute("data-winner", race.served_by)


async def test_without_motion_a_replay_goes_moment_by_moment(tabs: Tabs, demo: Node) -> None:
    race = await ask(demo.url)
    async with visit(tabs, demo.url, reduced_motion="reduce") as visited:
        await visited.turn_to(f"races/{race.request_id}")
        page, step = visited.page, visited.page.get_by_role("button", name="Next moment")
        await page.get_by_label("Moment of the race").press("Home")
        for _ in range(5):  # two were asked, two ended, and the axis ends
            await step.click()
            assert await page.get_by_role("button", name="Pause").count() == 0
        await expect(page.locator(".replayed")).to_have_attribute("data-winner", race.served_by)


async def test_without_motion_nothing_moves_while_a_request_is_under_way(tabs: Tabs) -> None:
    async with node_before(stall) as (llm, node), visit(tabs, node.url, reduced_motion="reduce") as visited:
        await visited.turn_to("races")
        await is_live(visited.page)
        asking = asyncio.create_task(ask(node.url, "plain"))
        await visited.page.locator("tr.under-way").wait_for()
        assert await visited.page.evaluate("document.getAnimations().length") == 0
        asking.cancel()
        await llm.stop()


async def test_a_failure_is_told_with_its_code(tabs: Tabs) -> None:
    refusal = send(whole(b'{"error":{"message":"no"}}', status=500))
    async with node_before(refusal) as (_, node), visit(tabs, node.url) as visited:
        with pytest.raises(OSError, match="HTTP Error"):
            await ask(node.url, "plain")
        await visited.turn_to("races")
        await expect(visited.page.locator("td.picture .bar.failed")).to_have_count(1)
        await visited.page.locator("table.races tbody a").click()
        await expect(visited.page.get_by_role("cell", name="failed: http_500")).to_be_visible()
        await expect(visited.page.locator(".replayed")).to_have_text("Nobody won.")


async def test_a_deadline_that_passed_is_drawn(tabs: Tabs) -> None:
    async with node_before(stall, LLM_TIMEOUT="0.2") as (_, node), visit(tabs, node.url) as visited:
        with pytest.raises(OSError, match="HTTP Error"):
            await ask(node.url, "plain")
        await visited.turn_to("races")
        await expect(visited.page.locator("td.picture .deadline")).to_have_count(1)
        await visited.page.locator("table.races tbody a").click()
        await expect(visited.page.locator(".lane .deadline")).to_have_count(1)
        await expect(visited.page.locator(".lane.axis .how")).to_have_text(re.compile(r"^deadline \d+(\.\d)? ms$"))
        await expect(visited.page.get_by_role("cell", name="failed: first_piece_timeout")).to_be_visible()


async def test_a_deadline_far_off_is_told_beside_the_picture(tabs: Tabs, demo: Node) -> None:
    race = await ask(demo.url)
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to(f"races/{race.request_id}")
        await expect(visited.page.locator(".lane.axis .how")).to_have_text(re.compile(rf"^deadline {NEARLY_30_S} →$"))
        await expect(visited.page.locator(".lane .deadline")).to_have_count(0)
        await expect(visited.page.locator(".facts")).to_contain_text(re.compile(f"{NEARLY_30_S} of silence"))


async def test_an_id_that_is_typed_leads_to_its_race(tabs: Tabs, demo: Node) -> None:
    race = await ask(demo.url)
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to("races")
        await visited.page.get_by_label("X-Request-Id").fill(race.request_id)
        await visited.page.keyboard.press("Enter")
        await expect(visited.page.locator(".replayed")).to_have_attribute("data-winner", race.served_by)
        await expect(visited.page.locator("h1")).to_be_focused()


async def test_races_are_filtered_and_an_unknown_id_is_told_in_words(tabs: Tabs, demo: Node) -> None:
    await ask(demo.url)
    async with visit(tabs, demo.url, expected=["404"]) as visited:
        await visited.turn_to("races")
        page = visited.page
        await page.locator("table.races tbody tr").first.wait_for()
        await page.get_by_label("Ended").select_option("failed")
        await expect(page.locator("main")).to_contain_text("None fits")
        await visited.turn_to("races/no-such-request")
        await expect(page.locator("main")).to_contain_text("The journal has no request 'no-such-request'")


async def test_a_page_that_misses_much_fetches_all_races_again_in_its_own_time(tabs: Tabs, demo: Node) -> None:
    events, fetched, race = demo.access.events, list[str](), await ask(demo.url)
    async with visit(tabs, demo.url) as visited:
        page = visited.page
        await visited.turn_to("races")
        await is_live(page)
        await page.locator(f"tr[data-request='{race.request_id}']").wait_for()
        await page.evaluate(HELD_TIMERS, MISSED_MS)
        page.on("request", lambda request: fetched.append(request.url) if "/races?" in request.url else None)
        (log,) = events._logs.values()
        for _ in range(FLOODS):
            for _ in range(2 * MAX_WAITING):
                events.tell("noise", dict)  # no page knows it
            await until(lambda: all(each._next == log.count for each in log.subscribers), PATIENCE_MS / 1000)
        await page.wait_for_function("() => window.held.length")
        assert (await page.evaluate("window.held.length"), fetched) == (1, [])
        await page.evaluate("window.held.forEach((run) => run())")
        await until(lambda: len(fetched) == 1, PATIENCE_MS / 1000)
