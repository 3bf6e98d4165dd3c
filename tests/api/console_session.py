"""Signs in to a node's console as its owner does: a link by a command, exchanged by the page."""

import json

from masa_node.node.owner.console import make_console_link
from masa_node.node.owner.folder import CommandedNode
from masa_node.storage.lock import is_held_by_another
from tests.api.raw_http import Reply, ask_once, head, post
from tests.api.serving import ServingNode

SESSION = b"/api/v1/console/session"


async def a_token(node: ServingNode) -> str:
    """One that was not used yet."""
    masa_dir = node.masa_dir
    link = (await make_console_link(CommandedNode(masa_dir, lambda: is_held_by_another(masa_dir)))).link
    before, token = link.split("#token=")
    assert before == f"{node.address}/console/"
    return token


async def exchanged(node: ServingNode, token: str, headers: bytes = b"") -> Reply:
    """What the node says to it."""
    return await ask_once(node.port, post(json.dumps({"token": token}).encode(), headers, target=SESSION))


async def signed_in(node: ServingNode) -> bytes:
    """The header line of a session."""
    return bearer((await exchanged(node, await a_token(node))).json()["session"])


def bearer(secret: object) -> bytes:
    """As a header line."""
    return b"Authorization: Bearer %b\r\n" % str(secret).encode()


async def ask(node: ServingNode, method: bytes, target: bytes, headers: bytes = b"", body: object = None) -> Reply:
    """Any request, with JSON where a body is given."""
    if body is None:
        return await ask_once(node.port, head(method, target, headers))
    return await ask_once(node.port, post(json.dumps(body).encode(), headers, target=target))
