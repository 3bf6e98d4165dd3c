"""Who gets in, what is seen when the node is away, and invites to be photographed.

Covers: `files`.
"""

import asyncio
import io
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image
from playwright.async_api import expect

from masa_node import Node, serve
from masa_node.chat.request import Endpoint, Request, RequestId
from tests.console.asking import ask
from tests.console.browsing import PATIENCE_MS, Tabs, visit
from tests.console.llms import STRANGERS_MODEL, node_before, piece, says
from tests.fakes.running import settings_of
from tests.real.node_process import Node as NodeProcess
from tools.console_screenshots import owners_link

pytestmark = pytest.mark.asyncio(loop_scope="package")

KEY = "a-long-random-word"
BACK_WITHIN_MS = 5000
OF_A_PEER = Request(
    request_id=RequestId("theirs"),
    endpoint=Endpoint.OPENAI_CHAT,
    model="m",
    wants_stream=False,
    body=b"{}",
    headers=(),
    first_piece_deadline_s=0.0,
    idle_timeout_s=1.0,
    requester="b" * 64,
)


class Answering:
    """What answers it, until it is ended."""

    def __init__(self, ended: asyncio.Event) -> None:
        self.cancel = ended.set

    def uncancel(self) -> int:
        return 0


async def test_a_wrong_key_gives_one_sentence_and_a_field(tabs: Tabs) -> None:
    async with (
        serve(settings_of(API_KEY=KEY, DEMO="1"), grace_s=1.0) as node,
        visit(tabs, node.url, expected=["401"]) as visited,
    ):
        page = visited.page
        await visited.turn_to("")
        for _ in range(2):  # none, and a wrong one
            await expect(page.get_by_role("alert")).to_have_count(1)
            await expect(page.get_by_label("Key")).to_have_value("")
            await page.get_by_label("Key").fill("wrong")
            await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_role("alert")).to_contain_text("does not take this key")
        await page.get_by_label("Key").fill(KEY)
        await page.get_by_role("button", name="Go on").click()
        await expect(page.locator("main")).to_contain_text("Ready: 1 model can be asked")
        await page.reload()
        await expect(page.locator("main")).to_contain_text("Ready: 1 model can be asked")


async def test_the_key_stands_in_no_address_and_ends_with_the_tab(tabs: Tabs) -> None:
    async with (
        serve(settings_of(API_KEY=KEY, DEMO="1"), grace_s=1.0) as node,
        visit(tabs, node.url, expected=["401"]) as visited,
    ):
        addresses: list[str] = []
        visited.page.on("request", lambda request: addresses.append(request.url))
        await visited.turn_to("")
        await visited.page.get_by_label("Key").fill(KEY)
        await visited.page.keyboard.press("Enter")
        await expect(visited.page.locator("main")).to_contain_text("Ready")
        assert [address for address in [*addresses, visited.page.url] if KEY in address] == []
        assert await visited.page.evaluate("JSON.stringify([localStorage, document.cookie])") == '[{},""]'


async def test_a_node_that_was_killed_is_told_and_seen_again_within_five_seconds(tabs: Tabs, tmp_path: Path) -> None:
    process = NodeProcess(tmp_path, {"DEMO": "1", "FIND_LOCAL": "0"})
    await asyncio.to_thread(process.start)
    try:
        process.environment["PORT"] = process.url.rpartition(":")[2]
        async with visit(tabs, process.url, expected=["ERR_"]) as visited:
            await visited.turn_to("")
            state, banner = visited.page.locator(".state"), visited.page.locator(".banner")
            await expect(state).to_contain_text("live")
            await asyncio.to_thread(process.kill)
            await expect(banner).to_contain_text("Disconnected")
            await expect(state).to_contain_text("disconnected")
            await asyncio.to_thread(process.start)
            await expect(state).to_contain_text("live", timeout=BACK_WITHIN_MS)
            await expect(banner).to_have_count(0)
    finally:
        await asyncio.to_thread(process.stop)


async def test_a_tab_that_nobody_sees_holds_no_connection(tabs: Tabs, demo: Node) -> None:
    turn = """hidden => { Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange")); }"""
    async with visit(tabs, demo.url) as visited:
        await visited.turn_to("races")
        state = visited.page.locator(".state")
        await expect(state).to_contain_text("live")
        await visited.page.evaluate(turn, True)  # noqa: FBT003 - what the script is given
        await expect(state).to_contain_text("connecting")
        race = await ask(demo.url)
        await visited.page.evaluate(turn, False)  # noqa: FBT003 - the same
        await visited.page.locator(f"tr[data-request='{race.request_id}']").wait_for()
        await expect(state).to_contain_text("live")


async def test_the_link_of_the_command_lets_its_owner_change_the_node_once(tabs: Tabs, demo: Node) -> None:
    link = owners_link(demo)
    async with visit(tabs, demo.url) as visited:
        page = visited.page
        await page.goto(link)
        await expect(page.locator("main h1")).to_be_visible()
        assert page.url == f"{demo.url}/console/#/"
        await visited.turn_to("network")
        await page.get_by_role("button", name="Trust quick").click()
        await expect(page.locator("tr", has_text="quick")).to_contain_text("trusted")
        await page.get_by_role("button", name="Untrust quick").click()
        await expect(page.locator("tr", has_text="quick")).not_to_contain_text("trusted")
    async with visit(tabs, demo.url, expected=["401"]) as visited:
        await visited.page.goto(link)
        await expect(visited.page.get_by_role("alert")).to_contain_text("This link was used before")
        await visited.page.get_by_role("button", name="Without a key").click()
        await visited.turn_to("network")
        await expect(visited.page.locator("main")).to_contain_text("You may look, but not change anything")


async def test_whoever_was_signed_out_still_sees_what_everybody_may_see(tabs: Tabs) -> None:
    async with serve(settings_of(DEMO="1"), grace_s=1.0) as node, visit(tabs, node.url) as visited:
        await visited.page.goto(owners_link(node))
        await visited.turn_to("network")
        await expect(visited.page.get_by_role("button", name="Join")).to_be_enabled()
        (session,) = node.access.sessions._sessions.values()
        node.access.sessions.end(session)
        await visited.page.reload()
        await expect(visited.page.locator(".state")).to_contain_text("live")
        await expect(visited.page.get_by_role("button", name="Join")).to_be_disabled()


async def test_a_bad_link_signs_nobody_out(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url, expected=["401"]) as visited:
        await visited.page.goto(owners_link(demo))
        await expect(visited.page.get_by_role("button", name="Sign out")).to_be_visible()
        await visited.page.evaluate("location.hash = '#token=made-up'")
        await expect(visited.page).to_have_url(f"{demo.url}/console/#/")
        await visited.turn_to("network")
        await expect(visited.page.get_by_role("button", name="Make an invite")).to_be_enabled()


async def test_a_second_link_in_a_tab_that_is_signed_in_leaves_it_so_and_the_first_session_too(
    tabs: Tabs, demo: Node
) -> None:
    async with visit(tabs, demo.url) as visited:
        await visited.page.goto(owners_link(demo))
        await expect(visited.page.get_by_role("button", name="Sign out")).to_be_visible()
        first = await visited.page.evaluate("sessionStorage.getItem('masa.bearer')")
        await visited.page.evaluate("link => { location.href = link; }", owners_link(demo))
        await visited.page.wait_for_function("first => sessionStorage.getItem('masa.bearer') !== first", arg=first)
        await visited.turn_to("network")
        await expect(visited.page.get_by_role("button", name="Make an invite")).to_be_enabled()
        assert demo.access.in_session(first.encode()) is not None, "another tab may have it"


async def test_a_peers_request_is_shown_and_whoever_may_change_the_node_ends_it(tabs: Tabs) -> None:
    ended = asyncio.Event()
    async with serve(settings_of(DEMO="1"), grace_s=1.0) as node, visit(tabs, node.url) as visited:
        node.access.under_way.add(OF_A_PEER, Answering(ended))
        page = visited.page
        await visited.turn_to("requests")
        cancel = page.get_by_role("button", name="Cancel request theirs")
        await expect(page.get_by_role("table", name="Requests under way")).to_contain_text("peer bbbbbbbbbb")
        await expect(cancel).to_be_disabled()
        await expect(page.locator("main")).to_contain_text("To cancel what others asked, run masa-node console")
        await page.goto(owners_link(node))
        await visited.turn_to("requests")
        await cancel.click()
        await asyncio.wait_for(ended.wait(), PATIENCE_MS / 1000)
        await expect(page.get_by_text("1 request ended")).to_be_visible()


async def test_signing_out_ends_the_session(tabs: Tabs) -> None:
    async with serve(settings_of(DEMO="1"), grace_s=1.0) as node, visit(tabs, node.url) as visited:
        await visited.page.goto(owners_link(node))
        await visited.page.get_by_role("button", name="Sign out").click()
        await expect(visited.page.get_by_role("button", name="Sign out")).to_have_count(0)
        assert not node.access.sessions
        assert await visited.page.evaluate("sessionStorage.length") == 0


async def test_an_invite_can_be_photographed_and_revoked(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url) as visited:
        page = visited.page
        await page.goto(owners_link(demo))
        await visited.turn_to("network")
        await page.get_by_label("For whom, a note").fill("a friend")
        await page.get_by_role("button", name="Make an invite").click()
        code = page.get_by_role("img", name="The invite as a QR code")
        await code.wait_for()
        await expect(page.get_by_role("button", name="Make an invite")).to_be_focused()
        link = await page.get_by_role("group", name="the invite").locator("pre").text_content()
        with Image.open(io.BytesIO(await code.screenshot())) as picture:
            found = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)  # its dots may be lines, too
        assert [each.text for each in found] == [link]
        row = page.get_by_role("table", name="Open invites").get_by_role("row", name="a friend")
        await row.get_by_role("button", name="Revoke").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(row).to_have_count(0)
        await expect(code).to_have_count(0)


async def test_why_a_link_is_not_taken_is_told_in_the_nodes_words(tabs: Tabs, demo: Node) -> None:
    async with visit(tabs, demo.url, expected=["400", "409", "422"]) as visited:
        await visited.page.goto(owners_link(demo))
        await visited.turn_to("network")
        await visited.page.get_by_label("The link that you were given").fill("masa1-nonsense")
        await visited.page.get_by_role("button", name="Join").click()
        await expect(visited.page.locator(".note.bad")).to_contain_text("invite")


async def test_a_strangers_model_stays_text_everywhere(tabs: Tabs) -> None:
    async with node_before(says(piece(content="<b>Hello</b>"))) as (_, node), visit(tabs, node.url) as visited:
        page = visited.page
        await visited.turn_to("ask")
        await page.get_by_label("Your question").fill("Hello")
        await page.get_by_role("button", name="Ask", exact=True).click()
        await expect(page.get_by_label("Answer", exact=True)).to_have_text("<b>Hello</b>")
        for name in ("", "races", "requests"):
            await visited.turn_to(name)
            await expect(page.locator("main")).to_contain_text(STRANGERS_MODEL)
        assert await page.locator("script:not([src])").count() == 0
        assert await page.locator("b").count() == 0


async def test_a_link_counts_also_where_another_page_is_turned_to_at_once(tabs: Tabs, demo: Node) -> None:
    turn = "link => { location.href = link; location.hash = '#/network'; }"
    async with visit(tabs, demo.url, expected=["401"]) as visited:
        await visited.page.goto(f"{demo.url}/console/#token=made-up")
        await visited.page.get_by_role("alert").wait_for()
        await visited.page.evaluate(turn, owners_link(demo))
        await expect(visited.page.get_by_role("button", name="Make an invite")).to_be_enabled()
