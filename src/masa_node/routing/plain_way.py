"""The way in to the plain way: which provider is asked by calls for a model, if there is no choice.

That is the one own server that serves it; or, where no own server does, the one peer.

See docs/decisions/0026-the-plain-way.md.
"""

import asyncio

import msgspec

from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint, RaceMode, Request
from masa_node.routing.admission import Admission
from masa_node.routing.candidates import Candidates
from masa_node.routing.catalog import Catalog
from masa_node.routing.exchange import Exchange, Observe
from masa_node.routing.health import Health
from masa_node.routing.plain import Host, Plain
from masa_node.routing.provider import AskNow, Provider, no_sign
from masa_node.routing.racing.provider_stats import ProviderStats
from masa_node.routing.running.sweep import Sweep

MAX_ROWS = 1024  # pairs of model and endpoint; names that nobody serves have none


class Row(msgspec.Struct, frozen=True, gc=False):
    """The provider to ask for a model at an endpoint, and its health."""

    provider: Provider
    ask_now: AskNow
    health: Health


class PlainWay:
    """The table of what can be asked so, and the way in. The table holds for one state of the catalog."""

    def __init__(
        self, catalog: Catalog, admission: Admission, candidates: Candidates, stats: ProviderStats, observe: Observe
    ) -> None:
        self._catalog = catalog
        self._admission = admission
        self._candidates = candidates
        self._stats = stats
        self._observe = observe
        self._rows: dict[tuple[str, Endpoint], Row | None] = {}
        self._generation = -1
        self.sweep = Sweep()
        self.is_open = True

    def row(self, model: str, endpoint: Endpoint) -> Row | None:
        """The one provider to be asked; None where there is another choice, or none."""
        if self._generation != self._catalog.generation or len(self._rows) > MAX_ROWS:
            self._rows.clear()
            self._generation = self._catalog.generation
        try:
            return self._rows[model, endpoint]
        except KeyError:
            row = self._made_row(model, endpoint)
            if row is not None:
                self._rows[model, endpoint] = row
            return row

    def _made_row(self, model: str, endpoint: Endpoint) -> Row | None:
        if DIALECT_OF_ENDPOINT[endpoint] is DialectName.OPENAI_AUDIO:  # a sound has no frames and may have no end
            return None
        found = self._catalog.find(model, endpoint)
        every = found.own or found.peers
        ask_now: AskNow | None = getattr(every[0], "ask_now", None) if len(every) == 1 else None
        return Row(every[0], ask_now, self._stats.health.of(every[0].name)) if ask_now is not None else None

    def begin(self, row: Row, request: Request, host: Host) -> Plain | None:
        """Have it answered, if that is plain; None, and nothing has happened, if not. `host` is told all else."""
        if not self.is_open or row.health.failures or request.translates_beside or self._stats.watch is not None:
            return None
        is_local = row.provider.is_local
        if not (is_local or self._candidates.may_be_all(row.provider, request.privacy)):
            return None
        if not self._admission.acquire_now():
            return None
        asked = row.ask_now(request)
        if asked is None:
            self._admission.release()
            return None
        exchange = Exchange(request, self._admission, self._candidates, self._stats, self._observe, no_sign)
        exchange.admitted()
        if not is_local:
            self._note_race(exchange, request)
        return Plain(request, exchange, exchange.made.ask(row.provider, row.health, asked), asked, host, self.sweep)

    def _note_race(self, exchange: Exchange, request: Request) -> None:
        """As a race does that has one peer to ask."""
        exchange.made.race = request.race.mode
        if request.race.mode is RaceMode.HEDGE:
            self._stats.budget.asked(asyncio.get_running_loop().time())
