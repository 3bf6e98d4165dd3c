"""Has requests answered: the choice of providers, how many at once, and what was learnt of providers."""

from masa_node.chat.outcome import Outcome
from masa_node.chat.request import DialectName, Request
from masa_node.routing.admission import SlotPool
from masa_node.routing.candidates import NO_RULES, Candidates, ChoiceRules, Refresh
from masa_node.routing.catalog import Catalog
from masa_node.routing.exchange import Common, Exchange, Observe, Sink
from masa_node.routing.native import in_one_format
from masa_node.routing.plain_way import PlainWay
from masa_node.routing.provider import Sign, no_sign
from masa_node.routing.racing.provider_stats import ProviderStats


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
        self.plain = PlainWay(catalog, self.common)

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
