"""The heart of the console: a race is seen as it ends, and can be played again.

Covers: `files`.
"""

import asyncio
import time

import pytest
from playwright.async_api import Page, expect

from masa_node import Node
from tests.console.asking import ask
from tests.console.browsing import Tabs, visit
from tests.console.llms import node_before
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import send, stall

pytestmark = pytest.mark.asyncio(loop_scope="package")

SEEN_WITHIN_S = 2.0  # 0.5 on a machine with nothing else to do; without events it would take up to 5
TRIES = 3  # the best counts


async def is_live(page: Page) -> None:
    """From now on the page is told what happens."""
    await expect(page.locator(".state")).to_contain_text("live")


async def test_a_race_appears_as_soon_as_it_has_ended(tabs: Tabs, demo: Node) -> None:
    took_s = []
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to("races")
        await is_live(visited.page)
        for _ in range(TRIES):
            race = await ask(demo.url)
            ended_at_s = time.monotonic()
            row = visited.page.locator(f"tr[data-request='{race.request_id}']")
            await row.wait_for()
            took_s.append(time.monotonic() - ended_at_s)
            assert await row.locator("td.picture .bar.won").count() == 1
            assert await row.locator("td.picture .bar.cancelled").count() == 1
    assert min(took_s) < SEEN_WITHIN_S


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
        await visited.page.locator("table.races tbody a").click()
        await expect(visited.page.locator(".lane .deadline")).to_have_count(1)
        await expect(visited.page.get_by_role("cell", name="failed: first_piece_timeout")).to_be_visible()


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
