"""Asking from a page: the answer as it comes, who gave it, and an LLM that is free again once nobody wants it.

Covers: `files`.
"""

import pytest
from playwright.async_api import Page, expect

from masa_node import Node
from tests.console.browsing import Tabs, visit
from tests.console.llms import STRANGERS_MODEL, begins, node_before, piece, says
from tests.fakes.llm_server import close, stall

CUT = "ERR_INCOMPLETE_CHUNKED_ENCODING"  # as the browser itself says it, beside the page

pytestmark = pytest.mark.asyncio(loop_scope="package")

STOPPED_WITHIN_S = 10.0  # at once; by itself it would never end
PROMPT = "What wins a race?"


async def put(page: Page, prompt: str = PROMPT) -> None:
    """Ask this."""
    await page.get_by_label("Your question").fill(prompt)
    await page.get_by_role("button", name="Ask", exact=True).click()


async def test_an_answer_comes_with_its_race_and_with_who_gave_it(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to("ask")
        await visited.page.get_by_label("Race").select_option("hedge")
        await put(visited.page)
        question = visited.page.locator(".question")
        await expect(question.get_by_label("Answer", exact=True)).to_contain_text(f"You said: {PROMPT}")
        await expect(question.get_by_label("The race")).to_contain_text("won at")
        await expect(question).to_contain_text("a second")
        await expect(question).to_contain_text("out")  # tokens, as the LLM said them
        await question.get_by_role("link", name="Replay it").click()
        await expect(visited.page.locator(".replayed")).to_contain_text("Won by")
        await expect(visited.page.locator(".facts")).to_contain_text("hedge")


async def test_two_models_answer_side_by_side(tabs: Tabs) -> None:
    async with node_before(says(piece(content="Hello"))) as (llm, node), visit(tabs, node.url) as visited:
        await visited.turn_to("ask")
        await visited.page.get_by_label("Two models side by side").check()
        await put(visited.page)
        await expect(visited.page.get_by_label("Answer", exact=True)).to_have_text(["Hello", "Hello"])
        await expect(visited.page.locator(".question h2")).to_have_text([STRANGERS_MODEL, "plain"])
        assert len(llm.asked("/v1/chat/completions")) == 2


@pytest.mark.parametrize(
    "thinking",
    [[piece(reasoning_content="Hm. "), piece(reasoning_content="Well.")], [piece(content="<think>Hm. Well.</think>")]],
)
async def test_thinking_is_folded(tabs: Tabs, thinking: list[bytes]) -> None:
    async with node_before(says(*thinking, piece(content="Yes"))) as (_, node), visit(tabs, node.url) as visited:
        await visited.turn_to("ask")
        await put(visited.page)
        await expect(visited.page.get_by_label("Answer", exact=True)).to_have_text("Yes")
        thought = visited.page.locator("details .thinking")
        await expect(thought).to_be_hidden()
        await visited.page.get_by_text("Its thinking").click()
        await expect(thought).to_have_text("Hm. Well.")


async def test_stop_frees_the_llm_within_a_second(tabs: Tabs) -> None:
    async with node_before(begins(piece(content="One, ")), stall) as (llm, node), visit(tabs, node.url) as visited:
        await visited.turn_to("ask")
        await put(visited.page)
        await expect(visited.page.get_by_label("Answer", exact=True)).to_have_text("One, ")
        await visited.page.get_by_role("button", name="Stop").click()
        await llm.until(lambda: llm.departures == 1, STOPPED_WITHIN_S)
        await expect(visited.page.locator(".question .tag").first).to_have_text("stopped")
        await expect(visited.page.get_by_label("Answer", exact=True)).to_have_text("One, ")


async def test_a_request_is_cancelled_from_the_list_of_those_under_way(tabs: Tabs) -> None:
    async with (
        node_before(begins(piece(content="One, ")), stall) as (llm, node),
        visit(tabs, node.url, expected=[CUT]) as visited,
        visit(tabs, node.url) as other,
    ):
        await visited.turn_to("ask")
        await other.turn_to("requests")
        await put(visited.page)
        await other.page.get_by_role("button", name="Cancel request").click()
        await llm.until(lambda: llm.departures == 1, STOPPED_WITHIN_S)
        await expect(other.page.get_by_text("1 request ended: its LLM was stopped.")).to_be_visible()
        await expect(other.page.get_by_text("Nothing is under way")).to_be_visible()
        await expect(visited.page.get_by_role("alert")).to_be_visible()


async def test_an_answer_that_was_cut_does_not_look_whole(tabs: Tabs) -> None:
    script = (begins(piece(content="One, ")), close)
    async with node_before(*script) as (_, node), visit(tabs, node.url, expected=[CUT]) as visited:
        await visited.turn_to("ask")
        await put(visited.page)
        await expect(visited.page.locator(".question .tag").first).to_have_text("failed")
        await expect(visited.page.get_by_role("alert")).to_be_visible()


async def test_what_was_asked_is_kept_nowhere(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to("ask")
        await put(visited.page)
        await expect(visited.page.get_by_label("The race")).to_be_visible()
        kept = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
        assert PROMPT not in await visited.page.evaluate(kept)
        await visited.page.reload()
        await expect(visited.page.get_by_label("Your question")).to_have_value("")
        await expect(visited.page.locator(".question")).to_have_count(0)


async def test_the_same_as_a_command_quotes_what_strangers_named(tabs: Tabs) -> None:
    async with node_before(says(piece(content="Hello"))) as (_, node), visit(tabs, node.url) as visited:
        await visited.turn_to("ask")
        page = visited.page
        await page.get_by_label("Your question").fill("it's $(date)")
        await page.get_by_label("Privacy").select_option("local")
        command = page.get_by_role("group", name="the same as curl")
        await expect(command).to_contain_text("-H 'X-Masa-Privacy: local'")
        await expect(command).to_contain_text(f'"model":"{STRANGERS_MODEL}"')
        await expect(command).to_contain_text("""it'\\''s $(date)""")
        await page.get_by_role("button", name="Python").click()
        program = await page.get_by_role("group", name="the same as python").locator("pre").text_content()
        compile(program or "", "pasted", "exec")
        assert "it's $(date)" in (program or "")
