"""The way in to the plain way: which provider is asked by calls for a model, if there is no choice.

That is the one own server that serves it; or, where no own server does, the one peer.

See docs/decisions/0026-the-plain-way.md.
"""

from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint, RaceMode, Request
from masa_node.routing.catalog import Catalog
from masa_node.routing.exchange import Common, Host
from masa_node.routing.plain import Plain, Row
from masa_node.routing.provider import AskNow, Sign, no_sign

MAX_ROWS = 1024  # pairs of model and endpoint; names that nobody serves have none


class PlainWay:
    """The table of what can be asked so, and the way in. The table holds for one state of the catalog."""

    def __init__(self, catalog: Catalog, common: Common) -> None:
        self._catalog = catalog
        self.common = common
        self._rows: dict[tuple[str, Endpoint], Row] = {}
        self._generation = -1
        self.sweep = common.admission.sweep
        self.is_open = True

    def row(self, model: str, endpoint: Endpoint) -> Row | None:
        """The one provider to be asked; None where there is another choice, or none."""
        if self._generation != self._catalog.generation or len(self._rows) > MAX_ROWS:
            self._rows.clear()
            self._generation = self._catalog.generation
        row = self._rows.get((model, endpoint))
        if row is None and (row := self._made_row(model, endpoint)) is not None:
            self._rows[model, endpoint] = row
        return row

    def _made_row(self, model: str, endpoint: Endpoint) -> Row | None:
        if DIALECT_OF_ENDPOINT[endpoint] is DialectName.OPENAI_AUDIO:  # a sound has no frames and may have no end
            return None
        found = self._catalog.find(model, endpoint)
        every = found.own or found.peers
        ask_now: AskNow | None = getattr(every[0], "ask_now", None) if len(every) == 1 else None
        return Row(every[0], ask_now, self.common.stats.health.of(every[0].name)) if ask_now is not None else None

    def begin(self, row: Row, request: Request, host: Host, on_sign: Sign = no_sign) -> Plain | None:
        """Have it answered, if that is plain; None, and nothing has happened, if not. `host` is told all else,
        `on_sign` of signs of life, once it goes on in a task.
        """
        provider, common = row.provider, self.common
        admission, stats = common.admission, common.stats
        if not self.is_open or row.health.failures or request.translates_beside or stats.watch is not None:
            return None
        if not (provider.is_local or common.candidates.may_be_all(provider, request.privacy)):
            return None
        peer = request.requester or ""
        if not admission.acquire_now(peer):
            return None
        asked = row.ask_now(request)
        if asked is None:
            admission.release(peer)
            return None
        row.health.running += 1
        if not provider.is_local and request.race.mode is RaceMode.HEDGE:
            stats.budget.asked(common.loop.time())  # as a race does that has one peer to ask
        return Plain(request, row, asked, host, common, on_sign)
