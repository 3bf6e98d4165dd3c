"""Has requests answered: the choice of providers, how many at once, and what was learnt of providers.

And the way in to the plain way: which provider is asked by calls for a model, if there is no choice. That is the one
own server that serves it; or, where no own server does, the one peer. See docs/decisions/0026-the-plain-way.md.
"""

from masa_node.chat.outcome import Outcome
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint, RaceMode, Request
from masa_node.routing.admission import SlotPool
from masa_node.routing.candidates import NO_RULES, Candidates, ChoiceRules, Refresh
from masa_node.routing.catalog import Catalog
from masa_node.routing.exchange import Common, Exchange, Host, Observe, Sink
from masa_node.routing.native import in_one_format
from masa_node.routing.plain import Plain, Row
from masa_node.routing.provider import AskNow, Sign, no_sign
from masa_node.routing.racing.provider_stats import ProviderStats

MAX_ROWS = 1024  # pairs of model and endpoint; names that nobody serves have none


class Dispatcher:
    """Answers requests. `refresh` looks for models that appeared since the last listing; `observe` gets each outcome.

    A node has one for its owner's requests and one for its peers', over a catalog of own servers only. `rules` is what
    the rest of the node says about the choice of providers.
    """

    def __init__(
        self,
        catalog: Catalog,
        admission: SlotPool,
        refresh: Refresh,
        observe: Observe,
        rules: ChoiceRules = NO_RULES,
    ) -> None:
        self.catalog = catalog
        self.stats = ProviderStats()
        self._refresh = refresh
        candidates = Candidates(catalog, refresh, self.stats.health, rules)
        self.common = Common(admission, candidates, self.stats, observe)
        self.sweep = admission.sweep
        self._rows: dict[tuple[str, Endpoint], Row] = {}  # for one state of the catalog
        self._generation = -1

    async def answer(self, request: Request, sink: Sink, on_sign: Sign = no_sign) -> Outcome:
        """Have one request answered, and give the answer to `sink`, or why there is none. How it went comes back.

        `on_sign` is called at each sign of life before the first piece. Raises nothing but what the sink does.

        In every case, also when this is cancelled at any await, the LLM is stopped if it still works. The slot is given
        back, and the outcome is observed exactly once. When cancelled in the middle of a stream, the outcome says that
        the caller has gone, unless the caller had a whole answer by then.
        """
        exchange = Exchange(request, self.common, on_sign)
        try:
            await exchange.give(sink)
        finally:
            outcome = exchange.close()
        return outcome

    async def in_one_format(self, request: Request, wanted: DialectName | None) -> Request:
        """A request through the product's own endpoint, as one through that of the format it is answered in."""
        return await in_one_format(request, wanted, self.catalog, self._refresh)

    # ---- the plain way ----

    def row(self, model: str, endpoint: Endpoint) -> Row | None:
        """The one provider to be asked; None where there is another choice, or none."""
        if self._generation != self.catalog.generation or len(self._rows) > MAX_ROWS:
            self._rows.clear()
            self._generation = self.catalog.generation
        row = self._rows.get((model, endpoint))
        if row is None and (row := self._made_row(model, endpoint)) is not None:
            self._rows[model, endpoint] = row
        return row

    def _made_row(self, model: str, endpoint: Endpoint) -> Row | None:
        if DIALECT_OF_ENDPOINT[endpoint] is DialectName.OPENAI_AUDIO:  # a sound has no frames and may have no end
            return None
        found = self.catalog.find(model, endpoint)
        every = found.own or found.peers
        ask_now: AskNow | None = getattr(every[0], "ask_now", None) if len(every) == 1 else None
        return Row(every[0], ask_now, self.stats.health.of(every[0].name)) if ask_now is not None else None

    def begin(self, row: Row, request: Request, host: Host, on_sign: Sign = no_sign) -> Plain | None:
        """Have it answered, if that is plain; None, and nothing has happened, if not. `host` is told all else,
        `on_sign` of signs of life, once it goes on in a task.
        """
        provider, common, stats = row.provider, self.common, self.stats
        if row.health.failures or request.translates_beside or stats.watch is not None:
            return None
        if not (provider.is_local or common.candidates.may_be_all(provider, request.privacy)):
            return None
        peer, admission = request.requester or "", common.admission
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
