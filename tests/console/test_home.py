"""Home says how the node is and what to paste; Requests and usage says who used what, and gives it as a file.

Covers: `files`.
"""

import csv
import io
import json
import shlex
import time
import tomllib
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from masa_node import Node, serve
from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, made_key
from masa_node.accounts.prices import Prices
from tests.console.asking import ask
from tests.console.browsing import Tabs, visit
from tests.console.llms import FORMULA, STRANGERS_MODEL, node_before, piece, says
from tests.fakes.dialect_samples import OPENAI
from tests.fakes.running import settings_of

pytestmark = pytest.mark.asyncio(loop_scope="package")

COPIES = """isSecure => {
  const clipboard = { writeText: async (text) => { window.copied = text; } };
  Object.defineProperty(navigator, "clipboard", { value: isSecure ? clipboard : undefined, configurable: true });
  document.addEventListener("copy", (event) => { window.copied = event.target.value; });
}"""
ANSWER = says(piece(content="Hello"))


async def pasted(page: Page, program: str) -> str:
    """What Home has for this program."""
    await page.get_by_role("button", name=program, exact=True).click()
    return await page.get_by_role("group", name=f"configuration for {program}").locator("pre").text_content() or ""


async def test_home_says_in_a_sentence_how_the_node_is(tabs: Tabs, demo: Node) -> None:
    await ask(demo.url)
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to("")
        main = visited.page.locator("main")
        await expect(main).to_contain_text("Ready: 1 model can be asked, of 2 linked peers.")
        await expect(main).to_contain_text("no LLM server is behind this node")  # the doctor's words
        await visited.page.get_by_role("button", name="Check all").click()
        await expect(visited.page.get_by_role("button", name="Check all")).to_be_enabled()
        figures = await visited.page.locator(".figures dd").all_text_contents()
        assert int(figures[0].split()[0].replace(",", "")) >= 1
        assert "ms" in figures[3]


async def test_tokens_that_no_llm_told_are_unknown_at_home_and_not_none(tabs: Tabs) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":5}}\n\n'
    async with node_before(ANSWER) as (llm, node), visit(tabs, node.url) as visited:
        figures = visited.page.locator(".figures dd")
        await visited.turn_to("")
        await expect(figures.nth(1)).to_have_text("0")
        await ask(node.url, "plain")
        await expect(figures.nth(1)).to_have_text("unknown")
        await expect(figures.nth(2)).to_have_text("unknown")
        llm.answer(OPENAI.endpoint, (says(piece(content="Hello"), usage),))
        await ask(node.url, "plain")
        await expect(figures.nth(1)).to_have_text("1,000 +1 unknown")
        await expect(figures.nth(2)).to_have_text("5 +1 unknown")


async def test_home_says_why_nothing_can_be_asked(tabs: Tabs) -> None:
    async with serve(settings_of(FIND_LOCAL="0"), grace_s=1.0) as node, visit(tabs, node.url, ["503"]) as visited:
        await visited.turn_to("")
        await expect(visited.page.locator(".lead")).to_contain_text("set LLM_CHAT_URL")
        await visited.turn_to("ask")
        await expect(visited.page.locator("main")).to_contain_text("No model can be asked now")
        await visited.turn_to("requests")
        await expect(visited.page.locator("main")).to_contain_text("USAGE=off")


async def test_what_is_pasted_quotes_a_strangers_model_and_has_the_real_address(tabs: Tabs) -> None:
    async with node_before(ANSWER) as (_, node), visit(tabs, node.url) as visited:
        await visited.turn_to("")
        page = visited.page
        await expect(page.locator("main")).to_contain_text("Ready")
        for program in ("Python, openai", "Python, anthropic"):
            text = await pasted(page, program)
            compile(text, "pasted", "exec")
            assert json.dumps(STRANGERS_MODEL) in text
            assert node.url in text
        codex = tomllib.loads(await pasted(page, "Codex"))
        assert codex["model"] == STRANGERS_MODEL
        assert codex["model_providers"]["masa"]["base_url"] == f"{node.url}/v1"
        claude = shlex.split(await pasted(page, "Claude Code"))
        assert f"ANTHROPIC_MODEL={STRANGERS_MODEL}" in claude
        assert f"ANTHROPIC_BASE_URL={node.url}" in claude
        curl = shlex.split(await pasted(page, "curl"))
        assert json.loads(curl[curl.index("-d") + 1])["model"] == STRANGERS_MODEL


@pytest.mark.parametrize("is_secure", [True, False], ids=["over loopback or TLS", "over plain HTTP"])
async def test_what_is_to_be_pasted_is_copied_whole(tabs: Tabs, demo: Node, *, is_secure: bool) -> None:
    async with visit(tabs, demo.url) as visited:
        page = visited.page
        await visited.turn_to("")
        text = await pasted(page, "curl")
        await page.evaluate(COPIES, is_secure)
        await page.get_by_role("button", name="Copy configuration for curl").click()
        await expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert await page.evaluate("window.copied") == text
        assert await page.evaluate("document.querySelectorAll('textarea').length") == 0


async def test_usage_is_told_by_key_and_model_and_history_is_saved(tabs: Tabs, tmp_path: Path) -> None:
    node_settings = {"USAGE": "count", "MASA_DIR": str(tmp_path)}
    async with node_before(ANSWER, **node_settings) as (_, node), visit(tabs, node.url) as visited:
        for model in (FORMULA, STRANGERS_MODEL, STRANGERS_MODEL):
            await ask(node.url, model)
        await visited.turn_to("requests")
        page = visited.page
        row = page.get_by_role("table", name="Use by key and model").get_by_role("row").nth(1)
        await expect(row.get_by_role("cell").nth(1)).to_have_text(STRANGERS_MODEL)
        await expect(row.get_by_role("cell").nth(2)).to_have_text("2")
        await expect(row).to_contain_text("unknown")  # tokens that no LLM told
        await page.get_by_role("button", name="provider", exact=True).click()
        await expect(page.get_by_role("table", name="Use by provider")).to_contain_text("openai")
        await page.get_by_role("combobox", name="Model").select_option(FORMULA)
        async with page.expect_download() as saved:
            await page.get_by_role("button", name="Save as CSV").click()
        lines = list(csv.DictReader(io.StringIO((await (await saved.value).path()).read_text("utf-8"))))
        assert [line["model"] for line in lines] == [f"'{FORMULA}"], "no spreadsheet runs it"
        async with page.expect_download() as saved:
            await page.get_by_role("button", name="Save as JSON").click()
        races = json.loads((await (await saved.value).path()).read_text("utf-8"))
        assert [race["model"] for race in races] == [FORMULA]


async def test_costs_are_a_column_where_there_are_prices_and_unknown_is_told(
    tabs: Tabs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Prices, "__call__", lambda _, used: 1234.5 if used.model == "plain" else None)
    settings = {"USAGE": "count", "MASA_DIR": str(tmp_path)}
    async with node_before(ANSWER, **settings) as (_, node), visit(tabs, node.url) as visited:
        for model in (FORMULA, "plain"):
            await ask(node.url, model)
        await visited.turn_to("requests")
        table = visited.page.get_by_role("table", name="Use by key and model")
        await expect(table.get_by_role("columnheader", name="Cost")).to_be_visible()
        await expect(table.get_by_role("row", name="plain").get_by_role("cell").last).to_have_text(
            "$1,234.50 (+1 unknown)"  # no LLM told the tokens
        )
        await expect(table.get_by_role("row", name=FORMULA).get_by_role("cell").last).to_have_text("unknown")


async def test_a_key_with_a_name_sees_its_own_and_is_told_what_it_may_not(tabs: Tabs, tmp_path: Path) -> None:
    key = change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules(), time.time(), None))
    settings = {"MASA_DIR": str(tmp_path), "USAGE": "count", "API_KEY": "own"}
    async with node_before(ANSWER, **settings) as (_, node), visit(tabs, node.url, ["401"]) as visited:
        await ask(node.url, "plain", Authorization="Bearer own")
        await ask(node.url, FORMULA, Authorization=f"Bearer {key}")
        await visited.turn_to("requests")
        await visited.page.get_by_label("Key").fill(key)
        await visited.page.keyboard.press("Enter")
        history = visited.page.get_by_role("table", name="Requests that ended")
        await expect(history).to_contain_text(FORMULA)
        await expect(history).not_to_contain_text("plain")
        await visited.turn_to("network")
        await expect(visited.page.locator("main")).to_contain_text("The owner's to see")
        await expect(visited.page.get_by_role("button", name="Make an invite")).to_have_count(0)
        await visited.turn_to("")
        await expect(visited.page.locator("main")).to_contain_text("Ready: 3 models can be asked with your key.")
        await expect(visited.page.get_by_text("What is missing")).to_have_count(0)
