"""What was asked here, and what is being asked: the races of the journal, the requests under way, usage.

The owner sees all; whoever has a key with a name sees what that key asked, and may end it. To end what others asked
takes the right to change the node.
"""

import time
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from masa_node.accounts.access import Caller
from masa_node.accounts.journal import Journal, Race, RaceQuery
from masa_node.accounts.ledger import Ledger
from masa_node.accounts.report import By, Price, UsageLine, UsageQuery, days_of, groups_of
from masa_node.accounts.under_way import RequestUnderWay, UnderWay
from masa_node.accounts.usage import DAY_S
from masa_node.chat.errors import CallerError
from masa_node.chat.journal_errors import UnknownRequest

REQUESTS_PATH = "/api/v1/requests"
MAX_RACES = 1_000  # of one answer; `before` leads on
_ID_CHARS = 64  # of a request's id, as callers may choose it
_BY = "|".join(By)
_GROUPS = {"pattern": rf"^({_BY})(,({_BY})){{0,4}}$"}  # as `groups_of` reads them, which says what is wrong with others
_DAYS = {"pattern": "^([1-9][0-9]?d|[1-3][0-9]{2}d|[1-9]w)$"}  # as `days_of` does


class History(msgspec.Struct, frozen=True):
    """What the node remembers of requests. No ledger: USAGE=off. No price: the extra is not installed."""

    journal: Journal
    under_way: UnderWay
    ledger: Ledger | None
    price: Price | None = None


class RacesAsked(msgspec.Struct, frozen=True):
    """What may stand in the query of races."""

    limit: Annotated[int, Meta(ge=1, le=MAX_RACES, description=f"How many at most, up to {MAX_RACES}")] = 100
    before: (
        Annotated[int, Meta(ge=1, le=2**53, description="Only those with a lower `number`: the next page")] | UnsetType
    ) = UNSET
    model: Annotated[str, Meta(description="Only those for this model")] | UnsetType = UNSET
    failed: Annotated[bool, Meta(description="Only those that ended with an error, or only the others")] | UnsetType = (
        UNSET
    )


class UsageAsked(msgspec.Struct, frozen=True):
    """What may stand in the query of usage."""

    by: Annotated[str, Meta(description="What to tell apart, comma-separated", extra_json_schema=_GROUPS)] = "key,model"
    since: Annotated[str, Meta(description="How far back; `1d` is today alone (UTC)", extra_json_schema=_DAYS)] = "30d"
    cost: Annotated[bool, Meta(description="Add what vendors charge, by list prices (`masa-node[prices]`)")] = False


async def races(history: History, caller: Caller, query: Mapping[str, str]) -> dict[str, list[Race] | int | None]:
    """`GET /api/v1/races`: the newest first; `before` leads to the next page, if there is one. Raises `CallerError`."""
    try:
        asked = msgspec.convert(query, RacesAsked, strict=False)
    except msgspec.ValidationError as exc:
        raise CallerError(f"The query is not understood: {exc}.") from exc
    given = {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not UNSET}
    found, before = await history.journal.page(RaceQuery(**given, key=_own(caller)))
    return {"races": found, "before": before}


def race(history: History, caller: Caller, request_id: str) -> Race:
    """`GET /api/v1/races/{request_id}`. Raises `UnknownRequest`."""
    found = history.journal.race(request_id, _own(caller))
    if found is None:
        raise UnknownRequest(
            f"The journal has no request {request_id[:_ID_CHARS]!r}: it has the last ones only (JOURNAL)."
        )
    return found


def requests(history: History, caller: Caller) -> dict[str, list[RequestUnderWay]]:
    """`GET /api/v1/requests`: those under way, the oldest first."""
    return {"requests": history.under_way.requests(_own(caller))}


def end(history: History, caller: Caller, request_id: str) -> dict[str, int]:
    """`DELETE /api/v1/requests/{request_id}`: how many had this id, and were ended.

    Raises `UnknownRequest`, and `ChangeRefused` for another's request.
    """
    ended = history.under_way.end(request_id, None if caller.may_change else caller.name)
    if not ended:
        if caller.is_owner and history.under_way.holds(request_id):
            caller.check_may_change()
        raise UnknownRequest(f"No request {request_id[:_ID_CHARS]!r} is under way here.")
    return {"ended": ended}


async def usage(history: History, caller: Caller, query: Mapping[str, str]) -> dict[str, list[UsageLine] | bool]:
    """`GET /api/v1/usage`. `counted` is False with USAGE=off: nothing is. `priced`: do the lines have costs?

    Raises `CallerError`, `StoreFailed`.
    """
    try:
        asked = msgspec.convert(query, UsageAsked, strict=False)
        by, days = groups_of(asked.by), days_of(asked.since)
    except (msgspec.ValidationError, ValueError) as exc:
        raise CallerError(f"The query is not understood: {exc}.") from exc
    if history.ledger is None:
        return {"counted": False, "priced": False, "lines": []}
    price = history.price if asked.cost else None
    query_of = UsageQuery(by, int(time.time() // DAY_S) + 1 - days, _own(caller))
    return {"counted": True, "priced": price is not None, "lines": await history.ledger.report(query_of, price)}


def _own(caller: Caller) -> str | None:
    """The key whose requests they may see; None: all."""
    return None if caller.is_owner else caller.name
