"""Has asks answered: puts together who may be asked, how many at once, and what was learnt of providers."""

from collections.abc import Callable

from masa_node.chat.ask import Ask
from masa_node.routing.admission import Admits
from masa_node.routing.candidates import Arriving, Candidates, Refresh
from masa_node.routing.catalog import Catalog
from masa_node.routing.exchange import Exchange, Observe
from masa_node.routing.experience import Experience, Watch
from masa_node.routing.health import Health, HealthBook
from masa_node.routing.provider import Provider
from masa_node.routing.sifting import Sifts


class Dispatcher:
    """Answers asks. `refresh` looks for models that appeared since the last listing; `observe` gets each outcome.

    A node has one for its owner's asks and one for its peers', over a catalog of own servers only; they share `health`.
    """

    def __init__(
        self,
        catalog: Catalog,
        admission: Admits,
        refresh: Refresh,
        observe: Observe,
        health: HealthBook | None = None,
    ) -> None:
        self.catalog = catalog
        self.admission = admission
        self.observe = observe
        self.experience = Experience(health if health is not None else HealthBook())
        self._candidates = Candidates(catalog, refresh, self.experience.health)

    def sift_by(self, sifts: Sifts) -> None:
        """Ask only the peers that this rule lets through, from the next request on."""
        self._candidates.sifts = sifts

    def explain_by(self, why_nothing: Callable[[], str]) -> None:
        """What callers read when no model at all can be asked: why, and what to do."""
        self._candidates.why_nothing = why_nothing

    def wait_for(self, arriving: Arriving) -> None:
        """Who of the known peers is not linked yet, while the node has just started: it may serve what nobody lists."""
        self._candidates.arriving = arriving

    @property
    def watch(self) -> Watch | None:
        """Who is told each step of each race as it happens. It must not raise, and costs nothing while it is None."""
        return self.experience.watch

    @watch.setter
    def watch(self, watch: Watch | None) -> None:
        self.experience.watch = watch

    def open(self, ask: Ask) -> Exchange:
        """Begin one ask. The exchange must be closed in every case, also when nothing was asked of it yet."""
        return Exchange(ask, self.admission, self._candidates, self.experience, self.observe)

    def health_of(self, provider: Provider) -> Health:
        """The health record of a provider."""
        return self.experience.health.of(provider.name)

    def forget(self, provider: Provider) -> None:
        """Drop the record of a provider that is gone."""
        self.experience.health.forget(provider.name)
