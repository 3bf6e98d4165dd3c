"""Requests that callers gave the same id, and history beyond what a page fetches at once.

Covers: `files`.
"""

import asyncio
import json

import msgspec
import pytest
from playwright.async_api import Page, Route, expect

from masa_node import Node
from masa_node.accounts.journal import RaceQuery
from tests.console.asking import ask
from tests.console.browsing import Tabs, visit
from tests.console.llms import node_before
from tests.fakes.llm_server import stall, until
from tests.fakes.raw_http import post

pytestmark = pytest.mark.asyncio(loop_scope="package")

SHOWN = 1_000  # races that a page fetches at once
IS_THERE = "(id) => document.querySelector(`a[href='#/races/${id}']`)"
RARE = "rare"  # the model of few of them, so that all of these are rows at once


async def saved(page: Page) -> list[str]:
    """The ids of all races that the page has."""
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Save as JSON").click()
    races = json.loads((await (await download.value).path()).read_text("utf-8"))
    return [race["request_id"] for race in races]


async def test_two_requests_of_one_id_are_two_rows_and_one_that_ends_leaves_the_other(tabs: Tabs) -> None:
    body, headers = b'{"model":"plain","messages":[]}', (("x-request-id", "same"),)
    async with node_before(stall) as (llm, node), visit(tabs, node.url) as visited:
        port = int(node.url.rpartition(":")[2])
        asking = [asyncio.ensure_future(post(port, "/v1/chat/completions", body, headers)) for _ in range(2)]
        await until(lambda: node.admission.running == 2, 10.0)
        await visited.turn_to("requests")
        rows = visited.page.locator("tr[data-request='same']")
        await expect(rows).to_have_count(2)
        await visited.turn_to("races")
        await expect(visited.page.locator("tr.under-way")).to_have_count(2)
        asking[0].cancel()
        await llm.until(lambda: llm.departures == 1, 10.0)
        await expect(visited.page.locator("tr[data-request='same']")).to_have_count(1)  # it is among those that ended
        await expect(visited.page.locator("tr.under-way")).to_have_count(1)
        node.access.under_way.end("same")
        await asyncio.wait(asking)
        await expect(visited.page.locator("tr.under-way")).to_have_count(0)


async def test_history_has_no_gap_where_requests_end_while_older_ones_are_fetched(tabs: Tabs, demo: Node) -> None:
    """The first two thousand are made up, with lower numbers than any that the node gives."""
    await ask(demo.url)
    await until(lambda: bool(demo.journal.races(RaceQuery(limit=1))), 10.0)  # outcomes are told of together
    newest = msgspec.to_builtins(demo.journal.races(RaceQuery(limit=1))[0])
    made_up = [
        {**newest, "number": -number, "request_id": f"r{number}", "model": newest["model"] if number % 500 else RARE}
        for number in range(2 * SHOWN)
    ]
    ids = [race["request_id"] for race in made_up]

    async def give(route: Route) -> None:
        before = int(route.request.url.partition("before=")[2] or 1)
        found = [race for race in made_up if race["number"] < before][:SHOWN]
        await route.fulfill(json={"races": found, "before": found[-1]["number"] if len(found) == SHOWN else None})

    async with visit(tabs, demo.url) as visited:
        page = visited.page
        model, rows = page.get_by_label("Model"), page.get_by_role("table", name="Requests that ended").locator("tr")
        older = page.get_by_role("button", name="Older ones")
        await page.route("**/api/v1/races?*", give)
        await visited.turn_to("requests")
        await model.select_option(RARE)
        await expect(rows).to_have_count(1 + 2)
        await model.select_option("")
        asked = [(await ask(demo.url)).request_id for _ in range(2)]
        await page.wait_for_function(IS_THERE, arg=asked[-1])
        await model.select_option(RARE)
        await older.click()
        await expect(rows).to_have_count(1 + 4)
        await older.click()
        await expect(older).to_have_count(0)
        await model.select_option("")
        assert await saved(page) == [*reversed(asked), *ids]
        asked.append((await ask(demo.url)).request_id)
        await page.wait_for_function(IS_THERE, arg=asked[-1])
        assert await saved(page) == [*reversed(asked), *ids[:-1]]
        await model.select_option(RARE)
        await older.click()
        await expect(older).to_have_count(0)
        await model.select_option("")
        assert await saved(page) == [*reversed(asked), *ids]
        await page.unroute("**/api/v1/races?*", give)
