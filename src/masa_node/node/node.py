"""Puts a node together from its settings. Nothing is started here."""

import asyncio
import contextlib
import random
import secrets
from collections import Counter
from functools import partial
from pathlib import Path

import msgspec

from masa_node.accounts import ledger
from masa_node.accounts.access import Access
from masa_node.accounts.journal import Journal, race_of
from masa_node.accounts.prices import has_prices
from masa_node.api.aliasing import Aliasing
from masa_node.api.app import App
from masa_node.api.chat import ChatEndpoints
from masa_node.api.control.events import EventStreams
from masa_node.api.control.node_view import NodeView, Readiness
from masa_node.api.control.pages import ConsolePages
from masa_node.api.entry import ChatLimits
from masa_node.api.guard import Guard
from masa_node.api.views.history import History
from masa_node.chat.outcome import Outcome
from masa_node.chat.request import OWNER, Privacy, RaceMode, RaceRule
from masa_node.console.files import read_files
from masa_node.network.transport.interfaces import Route
from masa_node.node.callers import bodies_bytes, guard_rules
from masa_node.node.doctor.facts import HttpFacts
from masa_node.node.doctor.findings import Report
from masa_node.node.doctor.one_at_a_time import OneAtATime
from masa_node.node.doctor.report import examine
from masa_node.node.no_stakes import NoStakes, StakeRules
from masa_node.node.owner.actions import ConsoleActions
from masa_node.node.peering.console_desk import ConsoleDesk
from masa_node.node.peering.linked_first import LinkedFirst
from masa_node.node.peering.parts import PeerParts
from masa_node.node.peering.service import PeerService
from masa_node.node.settings.config_file import aliases_in_file
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.peers import read_peer_settings
from masa_node.node.settings.stake import read_stake_settings
from masa_node.node.settings.upstreams import prices_of
from masa_node.node.situation import ServerState, Situation
from masa_node.routing.admission import Admission, PeerAdmission
from masa_node.routing.answers.byte_budget import OVERHEAD_BYTES, ByteBudget
from masa_node.routing.candidates import ChoiceRules
from masa_node.routing.catalog import Catalog, Offers
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.provider import Provider, may_see
from masa_node.telemetry.log import log_outcome
from masa_node.telemetry.metrics import (
    IN_FLIGHT,
    MAX_UPSTREAM_LABELS,
    PEERS_BY_STAKE,
    PEERS_LINKED,
    UPSTREAM_UP,
    WAITING,
    Metrics,
)
from masa_node.upstreams.embedded.llm import EmbeddedLlm
from masa_node.upstreams.embedded.model import find_model
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.urls import ollama_url, redacted
from masa_node.upstreams.poller import Listable, ModelPoller
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from masa_node.upstreams.upstream import Upstream
from masa_node.version import __version__

CHANGES_EVERY_S = 1.0
MAX_UNTOLD = 64  # requests that have ended; telling of so many takes 0.3 ms
TELL_WITHIN_S = 0.05  # that one ended well: what tells of one alone is in no cache of the processor
READY_WITHIN_S = 3.0  # a start, and the first list, wait no longer for LLM servers and peers


class Node:
    """All parts of one node, wired. `run.py` runs it.

    `instance` is this process' own random name, by which an LLM URL that leads back here is noticed; `url` is
    where it serves HTTP, "" if it does not. Raises `ConfigurationError`.
    """

    def __init__(self, settings: Settings, http: HttpClient, url: str = "") -> None:
        self.settings = settings
        self.http = http
        self.instance = secrets.token_hex(8)
        self.url = url
        self.metrics = Metrics()
        self._untold: list[Outcome] = []
        self._tells_soon = False
        self._telling: asyncio.TimerHandle | None = None
        self.ledger = make_ledger(settings)
        self.access = Access(Path(settings.masa_dir).expanduser())
        self.access.start()
        self.journal = Journal(settings.journal)
        self.catalog = Catalog()
        self.poller = ModelPoller(self.catalog, settings.llm_refresh)
        self.admission = Admission(settings.max_concurrent, settings.max_queue)
        self.embedded: list[EmbeddedLlm] = []
        self.stakes = make_stake_policy(settings, http)
        self.peer_admission = PeerAdmission(
            self.admission, settings.max_peer_jobs, settings.max_peer_queue, self.stakes.rank
        )
        peers = self.peer_service = PeerService(self._peer_parts())
        policy = LinkedFirst(self.stakes, peers.linked, peers.members, random.Random())  # noqa: S311 - whom to dial
        rules = ChoiceRules(policy, peers.arriving, lambda: self.situation().remedy, self.access.may_see)
        self.dispatcher = Dispatcher(self.catalog, self.admission, self.poller.refresh, self.observe, rules=rules)
        self._whole_report, self._short_report = (
            OneAtATime(partial(self._examined, whole=whole)) for whole in (True, False)
        )
        self.found_first = asyncio.Event()  # were LLM servers on this machine looked for once, if they are at all?
        self.found_first.set()
        self.metrics.watch(IN_FLIGHT, lambda: self.admission.running)
        self.metrics.watch(WAITING, lambda: self.admission.waiting)
        for route in Route:
            self.metrics.watch(PEERS_LINKED, partial(self._count_linked, route), route.value)
        for answer in self.stakes.answers:
            self.metrics.watch(PEERS_BY_STAKE, partial(self.stakes.linked_with, answer), answer)
        self._actions = ConsoleActions(settings)
        self.app = self._app()

    def add(self, provider: Listable) -> None:
        """One more LLM server behind this node."""
        self.poller.add(provider)
        if len(self.poller.providers) <= MAX_UPSTREAM_LABELS:
            self.metrics.watch(UPSTREAM_UP, lambda: float(self.poller.is_up(provider) is True), provider.name)

    def add_spec(self, spec: UpstreamSpec) -> None:
        """The same, from its description."""
        if spec.kind is UpstreamKind.DEMO:
            from masa_node.upstreams.demo import DemoModel  # noqa: PLC0415 - which brings the translator along

            self.add(DemoModel(spec.name, self.settings.demo_pieces_per_s, self.settings.node_name))
        elif spec.kind is UpstreamKind.EMBEDDED:
            llm = make_embedded(spec, self.settings, self.http)
            self.embedded.append(llm)
            self.add(llm)
            self.catalog.put(llm, llm.expected())
        else:
            self.add(Upstream(spec, self.http))

    def states(self) -> list[tuple[str, str, bool | None]]:
        """Name, kind and state of each LLM server."""
        return [(provider.name, provider.label, self.poller.is_up(provider)) for provider in self.poller.providers]

    def situation(self) -> Situation:
        """What can be asked now, and why not if nothing can."""
        counts = Counter(provider.name for provider, _ in self.catalog.all_offers() if provider.is_local)
        unlisted = {provider.name for provider in self.catalog.unlisted}
        servers = tuple(
            ServerState(
                provider.name,
                provider.label,
                provider.location,
                self.poller.is_up(provider),
                None if provider.name in unlisted else counts[provider.name],
                self.poller.note(provider),
            )
            for provider in self.poller.providers
        )
        peers = sum(not provider.is_local for provider, _ in self.askable(self.catalog.all_offers()))
        ollama = redacted(ollama_url(self.settings.ollama_host) or "")
        return Situation(servers, peers, self.settings.find_local, ollama)

    def askable(self, offers: Offers) -> Offers:
        """Those that may be asked for at all: PRIVACY and stakes may keep requests from peers."""
        peers = {provider.name: provider for provider, _ in offers if not provider.is_local}
        allowed = self._askable_peers([*peers.values()])
        return [(provider, offer) for provider, offer in offers if provider.is_local or provider.name in allowed]

    def _askable_peers(self, peers: list[Provider]) -> frozenset[str]:
        """What a request could reach at most: its header may only tighten what the settings allow."""
        privacy = Privacy(self.settings.privacy)
        peers = [peer for peer in peers if may_see(peer, privacy)]
        groups = self.stakes.select(peers).groups if peers else ()
        return frozenset(peer.name for group in groups for peer in group)

    async def first_look(self) -> None:
        """Wait until every LLM server was asked once what it serves; not longer than a start may take."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                await self.found_first.wait()
                await self.poller.all_polled()

    async def running_models(self) -> list[msgspec.Raw]:
        """What the Ollamas behind this node hold in memory now."""
        ollamas = [provider for provider in self.poller.providers if isinstance(provider, Upstream)]
        found = await asyncio.gather(*(provider.running() for provider in ollamas))
        return [entry for entries in found for entry in entries]

    @property
    def node_id(self) -> str:
        """This node's id on the network; "" while it is on none."""
        return self.peer_service.state.node_id

    @property
    def bootnode(self) -> str:
        """This node as others write it into BOOTNODES; "" while it is on no network."""
        return self.peer_service.state.bootnode

    @property
    def staking_line(self) -> str:
        """In one line, what is made of stakes here."""
        return self.stakes.summary

    async def tell_changes(self) -> None:
        """Until cancelled: tells pages that look on what has changed, at most once a second."""
        before: dict[str, object] = {}
        while True:
            await asyncio.sleep(CHANGES_EVERY_S)
            before = self._changes_since(before) if self.access.events.is_heard else {}

    def _changes_since(self, before: dict[str, object]) -> dict[str, object]:
        now: dict[str, object] = {"peers": self.peer_service.state.mark(), "models": self.catalog.generation}
        for what, mark in now.items():
            if before.get(what) != mark:
                self.access.events.tell_changed(what)
        return now

    def _readiness(self) -> Readiness:
        now = self.situation()
        listed: list[dict[str, object]] = []
        for server in now.servers:
            row = {"name": server.name, "kind": server.kind, "state": server.state, "models": server.models}
            listed.append({**row, **({"note": server.note} if server.note else {})})
        return Readiness(now.is_ready, listed, now.why_not or None)

    def _peer_parts(self) -> PeerParts:
        return PeerParts(
            settings=self.settings,
            peer_settings=read_peer_settings(self.settings),
            catalog=self.catalog,
            admission=self.peer_admission,
            stakes=self.stakes,
            observe=self.observe,
            refused=self.metrics.peer_refused,
            instance=self.instance,
            url=self.url,
            console=ConsoleDesk(self.access.sessions, self.url, is_on=self.settings.console == "on"),
            under_way=self.access.under_way,
        )

    def _count_linked(self, route: Route) -> float:
        return float(self.peer_service.state.count_linked(route))

    def _peers_view(self) -> object:
        return self.peer_service.state.peers_view(self.staking_line, self.stakes.row)

    async def report(self, *, whole: bool = True) -> Report:
        """What the doctor finds; within ten seconds. Unless `whole`, no LLM server is asked.

        One is made at a time: a web page may ask as often as it likes, and cannot have LLM servers asked as often.
        """
        return await (self._whole_report if whole else self._short_report).get()

    async def _examined(self, *, whole: bool) -> Report:
        from masa_node.node.doctor.gather import Known, chain_facts, gather  # noqa: PLC0415 - only this needs it

        look = await self.peer_service.state.look()
        known = Known(
            HttpFacts(self.url, is_running=True, answers=True),
            look.facts,
            chain_facts(self.stakes.view()),
            self.settings.relay_url or look.relay,
            look.is_home,
            look.clocks,
        )
        return examine(await gather(self.settings, self.poller.providers if whole else (), self.http, known))

    def _node_view(self) -> dict[str, object]:
        return {
            "version": __version__,
            "name": self.settings.node_name,
            **self.peer_service.state.own_view(),
            "running": self.admission.running,
            "waiting": self.admission.waiting,
            "peers_running": self.peer_admission.running,
            "models": len(self.catalog.all_offers()),
            "share": self.settings.share,
            "race": self.settings.race,
            "privacy": self.settings.privacy,
            "staking": self.staking_line,
        }

    def observe(self, outcome: Outcome) -> None:
        """Note how a request ended. It is told within TELL_WITHIN_S, with others that end meanwhile, or when somebody
        looks; what ended with an error, at the end of the loop's turn: the process might not live longer.
        """
        if outcome.error is not None:
            outcome = self.access.under_way.as_ended(outcome)
        if outcome.key != OWNER:
            self.access.observe(outcome)  # the key's next request may be one too many
        self._untold.append(outcome)
        if len(self._untold) >= MAX_UNTOLD:
            self.tell()
        elif outcome.error is not None:
            if not self._tells_soon:
                self._tells_soon = True
                asyncio.get_running_loop().call_soon(self.tell)
        elif self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TELL_WITHIN_S, self.tell)

    def tell(self) -> None:
        """Tell of all that has ended. Each observer gets all of it in a row: its code is at hand from the second on."""
        untold, self._untold, self._tells_soon = self._untold, [], False
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        observers = [self.metrics.observe, log_outcome, self._note]
        if self.ledger is not None:
            observers.append(self.ledger.observe)
        for observe in observers:
            for outcome in untold:
                try:
                    observe(outcome)
                except Exception as exc:  # noqa: BLE001 - the loop logs it, and nothing else goes uncounted
                    bug = {"message": "bug in an observer of requests", "exception": exc}
                    asyncio.get_running_loop().call_exception_handler(bug)

    def _scraped(self) -> bytes:
        self.tell()
        return self.metrics.render()

    def _up_to_date(self, history: History) -> History:
        self.tell()
        return history

    def _note(self, outcome: Outcome) -> None:
        noted, events = self.journal.observe(outcome), self.access.events
        if events.is_heard:
            events.tell("ended", partial(race_of, *noted), outcome.key)

    def _app(self) -> App:
        settings = self.settings
        limits = ChatLimits(
            settings.max_body,
            settings.llm_timeout,
            settings.llm_idle_timeout,
            RaceRule(RaceMode(settings.race), settings.race_width),
            Privacy(settings.privacy),
            settings.llm_begin_timeout,
            min(settings.max_form, bodies_bytes(settings) - OVERHEAD_BYTES),
            settings.usage == "ask",
        )
        aliasing = Aliasing(aliases_in_file(settings), self.catalog, self.askable, self.poller.refresh)
        chat = ChatEndpoints(self.dispatcher, limits, self.observe, self.instance, aliasing, self.access)
        prices = prices_of(settings) if has_prices() else None
        history = History(self.journal, self.access.under_way, self.ledger, prices)
        view = NodeView(
            self.catalog,
            aliasing,
            self.first_look,
            self.running_models,
            self._readiness,
            self._scraped,
            self._node_view,
            self._peers_view,
            self.stakes.view,
            lambda only_network: self.report(whole=not only_network),
            partial(self._up_to_date, history),
            ConsolePages(read_files() if settings.console == "on" else {}),
            self.access.sessions,
            self._actions,
            lambda: self.app.guard.needs_key,
        )
        events = EventStreams(self.access.events, lambda: {"node_id": self.node_id or None, "version": __version__})
        guard = Guard(guard_rules(settings, has_named_keys=self.access.is_needed), self.access)
        return App(guard, chat, view, events, ByteBudget(bodies_bytes(settings)))


def make_stake_policy(settings: Settings, http: HttpClient) -> StakeRules:
    """What the settings say about stakes. The chain's code is imported only where they are looked at."""
    wanted = read_stake_settings(settings)
    if wanted.is_off or wanted.profile is None:
        return NoStakes()
    from masa_node.node.stake_policy import StakePolicy  # noqa: PLC0415 - nobody else needs the chain's code

    return StakePolicy.over_http(wanted, wanted.profile, http)


def make_ledger(settings: Settings) -> ledger.Ledger | None:
    """None where the settings want nothing to be counted."""
    path = Path(settings.masa_dir).expanduser() / ledger.FILE_NAME
    return None if settings.usage == "off" else ledger.Ledger(path)


def make_embedded(spec: UpstreamSpec, settings: Settings, http: HttpClient) -> EmbeddedLlm:
    """The model that `spec` names, not started yet. Raises `ConfigurationError` if it cannot be served here."""
    model = msgspec.structs.replace(
        find_model(spec.url), context_tokens=settings.llm_context, threads=settings.llm_threads
    )
    return EmbeddedLlm(spec, model, http)
