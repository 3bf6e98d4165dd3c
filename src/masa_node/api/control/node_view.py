"""What the endpoints of the node itself are given: the node, and what is asked for."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec

from masa_node.accounts.access import Caller
from masa_node.accounts.sessions import Sessions
from masa_node.api.aliasing import Aliasing
from masa_node.api.control.owner import OwnerActions
from masa_node.api.control.pages import ConsolePages
from masa_node.api.http1.request import HeaderPairs
from masa_node.api.views.history import History
from masa_node.routing.catalog import Catalog

Body = TypeVar("Body")


class Readiness(msgspec.Struct, frozen=True):
    """`GET /readyz`. `why` says why nothing can be asked, and what to do; None if something can."""

    ready: bool
    upstreams: list[dict[str, object]]
    why: str | None


class NodeView(msgspec.Struct, frozen=True):
    """What the endpoints show and change.

    `readiness` says whether anything can be asked. `node`, `peers` and `stake` describe the node and its network, ready
    to be encoded as JSON; `doctor` looks for what is wrong, which takes seconds. `aliasing` knows the owner's own names
    for models. `first_look` returns when every LLM server has listed its models once, or takes too long to. `running`
    gives the entries of Ollama's `/api/ps`. `history` remembers requests, `pages` are the console, `sessions` its own;
    `actions` has the node do what its owner wants. `needs_key`: must callers send a key?
    """

    catalog: Catalog
    aliasing: Aliasing
    first_look: Callable[[], Awaitable[None]]
    running: Callable[[], Awaitable[list[msgspec.Raw]]]
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    node: Callable[[], dict[str, object]]
    peers: Callable[[], object]
    stake: Callable[[], object]
    doctor: Callable[[bool], Awaitable[object]]
    history: Callable[[], History]
    pages: ConsolePages
    sessions: Sessions
    actions: OwnerActions
    needs_key: Callable[[], bool]


class Asked(msgspec.Struct, Generic[Body], frozen=True):
    """What is asked for, and by whom. `parts` are what stands for the braces of the path, `body` what an endpoint
    takes that has one.
    """

    headers: HeaderPairs
    query: bytes
    caller: Caller
    parts: tuple[str, ...]
    body: Body

    @property
    def fields(self) -> dict[str, str]:
        """The query, by names."""
        return dict(parse_qsl(self.query.decode("latin-1"), keep_blank_values=True))


# Makes an answer, at once or not: bytes, what is written as JSON, or that with a status and headers. Each is given
# the body that its endpoint takes.
Make = Callable[[NodeView, Any], object]
