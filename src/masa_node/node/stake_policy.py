"""The stake's side of a node that checks stakes: which peers may be asked and served, and what status pages say."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Self

import structlog

from masa_node.chat.errors import NoStakedPeer, PolicyError, StakeDemanded, StakeRequired, StakeUndecided, StakeUnknown
from masa_node.network.network import Network
from masa_node.network.transport.interfaces import NodeId
from masa_node.node.chain_http import ChainHttp
from masa_node.node.indirect_peers import IndirectPeers
from masa_node.node.settings.stake import StakeMode, StakeSettings
from masa_node.node.views import StakeRow, StakeView, chain_row, network_row, stake_row
from masa_node.routing.peer_policy import Selection
from masa_node.routing.provider import Provider
from masa_node.staking.contract.profile import Profile
from masa_node.staking.ethereum.rpc import Rpc
from masa_node.staking.gate.chain import Chain
from masa_node.staking.gate.gate import Gate, KeepsReadings
from masa_node.staking.gate.values import StakeAnswer, Verdict
from masa_node.upstreams.http.client import HttpClient

LOOK_EVERY_S = 1.0  # at every linked peer: a microsecond each
UNKNOWN_LOOKS = 5  # in a row: a look-up takes a second for each RPC URL that hangs
REFRESH_WITHIN_S = 3.0  # three RPC URLs that each take their second; a chat's own time goes on meanwhile
ADVERT_WITHIN_S = 2.0  # for the first advert of a peer that has just linked: it is sent at once
LOOKS_AT_ONCE = 32  # a millisecond's worth: then others have their turn
SELECTED_FOR_S = 0.1  # requests that come together need not weigh every peer each: 0.5 ms for 256
MAX_SELECTIONS = 64  # models and endpoints within that time
REFRESH_ROUNDS = 3  # what was known of one may have ended while another was waited for
MAX_REFRESHED = 64  # peers that are waited for: as many as a race asks

_RANKS = {StakeAnswer.STAKED: 0, StakeAnswer.ALLOWED: 0, StakeAnswer.UNKNOWN: 1, StakeAnswer.NOT_STAKED: 2}
_GOOD = (StakeAnswer.STAKED, StakeAnswer.ALLOWED)
_LOOKED_UP_LATER = Verdict(StakeAnswer.UNKNOWN, "its stake is looked up once it is linked")
_HOW_TO_STAKE = (
    "To stake, OWNER being a wallet's address: `masa-node stake deposit min --owner OWNER`, if it has no stake yet, "
    "then `masa-node stake delegate --owner OWNER`."
)
_WHERE_IT_STANDS = "`masa-node stake status` shows where it stands. LLM servers of this node answer without."

log = structlog.get_logger()


class StakePolicy:
    """Both policies over one gate. `run` it while the network is up; before and after it every stake is unknown.

    A `PeerPolicy` for this node's own requests; `vet` and `rank` are for those of peers.
    """

    answers = tuple(answer.value for answer in StakeAnswer)

    def __init__(self, settings: StakeSettings, profile: Profile, gate: Gate) -> None:
        self._settings = settings
        self._profile = profile
        self.gate = gate
        self._network: Network | None = None
        self._own_delegation: Callable[[], bytes | None] = lambda: None
        self._selections: dict[tuple[Provider, ...], Selection] = {}
        self._selected_until_s = 0.0
        self._logged: StakeAnswer | None = None
        self._unknown_looks = 0

    @classmethod
    def over_http(cls, settings: StakeSettings, profile: Profile, http: HttpClient) -> Self:
        """One that reads the chain of this profile through the node's HTTP client."""
        chain = Chain(Rpc(ChainHttp(http), profile.rpc_urls), profile)
        return cls(settings, profile, Gate(profile, chain, settings.allowed, random.Random()))  # noqa: S311 - jitter

    @property
    def summary(self) -> str:
        """One line for people."""
        policies = f"providers: {self._settings.providers}, callers: {self._settings.callers}"
        return f"on - {policies} ({self._profile.name}, chain {self._profile.chain_id})"

    async def run(self, network: Network, keep: KeepsReadings, own_delegation: Callable[[], bytes | None]) -> None:
        """Until cancelled. `own_delegation` gives what this node shows now."""
        self._network, self._own_delegation = network, own_delegation
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.gate.run(keep))
                group.create_task(self._keep_looking(network))
        finally:
            self._network = None

    async def _keep_looking(self, network: Network) -> None:
        """Each look renews what is no longer fresh, so that requests find it there."""
        indirect_peers = IndirectPeers(self.gate, network)
        while True:
            self._log_own()
            for number, peer in enumerate(list(network.links.sessions), 1):
                self.of(peer)
                if number % LOOKS_AT_ONCE == 0:
                    await asyncio.sleep(0)
            await indirect_peers.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def _log_own(self) -> None:
        """One line for the log when this node's stake ends or cannot be told any more, and when it is well again."""
        own = self.own()
        self._unknown_looks = self._unknown_looks + 1 if own.answer is StakeAnswer.UNKNOWN else 0
        if own.answer is self._logged or 0 < self._unknown_looks < UNKNOWN_LOOKS:
            return
        is_bad = own.answer not in _GOOD and self._settings.providers is StakeMode.REQUIRE
        write = log.warning if is_bad else log.info
        write("this node's stake", verdict=own.answer.value, why=own.reason)
        self._logged = own.answer

    def own(self) -> Verdict:
        """The verdict on this node, as others with the same profile reach it."""
        if self._network is None:
            return _not_up()
        return self.gate.verdict(self._network.node_id, self._own_delegation())

    def of(self, peer: NodeId) -> Verdict:
        """The verdict on a peer now."""
        network = self._network
        if network is None:
            return _not_up()
        signed = network.gossip.advert_of(peer)
        if signed is None and peer not in self._settings.allowed:
            return Verdict(StakeAnswer.UNKNOWN, "nothing is known of it yet: its advert has not come")
        return self.gate.verdict(peer, signed.advert.delegation if signed is not None else None)

    # ---- which peers this node asks (PeerPolicy) ----

    @property
    def selects(self) -> bool:
        """Does the policy restrict or order the peers to ask?"""
        return self._settings.providers is not StakeMode.OFF

    def select(self, peers: Sequence[Provider]) -> Selection:
        """See `PeerPolicy`. What it lets through is not weighed again for SELECTED_FOR_S."""
        if not self.selects:
            return Selection((peers,))
        key, now_s = tuple(peers), asyncio.get_running_loop().time()
        if now_s >= self._selected_until_s or len(self._selections) >= MAX_SELECTIONS:
            self._selections.clear()
            self._selected_until_s = now_s + SELECTED_FOR_S
        selection = self._selections.get(key)
        if selection is None:
            selection = self._grouped(peers)
            if selection.refusal is None:
                self._selections[key] = selection
        return selection

    def _grouped(self, peers: Sequence[Provider]) -> Selection:
        good: list[Provider] = []
        unknown: list[Provider] = []
        bad: list[Provider] = []
        for peer in peers:
            answer = self.of(NodeId(peer.name)).answer
            (good if answer in _GOOD else unknown if answer is StakeAnswer.UNKNOWN else bad).append(peer)
        if self._settings.providers is StakeMode.PREFER:
            return Selection(tuple(group for group in (good, unknown, bad) if group))
        refusal = self._refusal(peers, good, unknown)
        return Selection((), refusal) if refusal is not None else Selection((good,))

    async def refresh(self, peers: Sequence[Provider]) -> None:
        """See `PeerPolicy`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_WITHIN_S):
                for _ in range(REFRESH_ROUNDS):
                    await self._refresh_once(peers)
                    if not isinstance(self._grouped(peers).refusal, StakeUnknown):
                        return

    async def _refresh_once(self, peers: Sequence[Provider]) -> None:
        """Until somebody may be asked, or no look-up is under way."""
        network = self._network
        if network is None:
            return
        own = await self.gate.verdict_when_known(network.node_id, self._own_delegation())
        if own.answer not in _GOOD:
            return  # whatever the others have
        adverts = [network.gossip.advert_of(NodeId(peer.name)) for peer in peers[:MAX_REFRESHED]]
        async with asyncio.TaskGroup() as group:
            looked_up = {
                group.create_task(self.gate.verdict_when_known(signed.node_id, signed.advert.delegation))
                for signed in adverts
                if signed is not None
            }
            while looked_up and self._grouped(peers).refusal is not None:
                _, looked_up = await asyncio.wait(looked_up, return_when=asyncio.FIRST_COMPLETED)
            for each in looked_up:
                each.cancel()

    def _refusal(
        self, peers: Sequence[Provider], good: Sequence[Provider], unknown: Sequence[Provider]
    ) -> PolicyError | None:
        own = self.own()
        serve = "1 peer serves" if len(peers) == 1 else f"{len(peers)} peers serve"
        if own.answer is StakeAnswer.NOT_STAKED:
            # A node with a delegation reads in the reason what to do about it: its owner's stake may be whole.
            steps = f"{_HOW_TO_STAKE} {_WHERE_IT_STANDS}" if self._own_delegation() is None else _WHERE_IT_STANDS
            return StakeRequired(
                f"Only peers serve this model, and this node is not staked, which STAKE_PROVIDERS=require demands: "
                f"{_sentence(own)} {steps}"
            )
        if own.answer is StakeAnswer.UNKNOWN:
            return StakeUnknown(
                "Only peers serve this model. It is not known now whether this node is staked, as "
                f"STAKE_PROVIDERS=require demands: {_sentence(own)}"
            )
        if good:
            return None
        if unknown:
            why = _sentence(self.of(NodeId(unknown[0].name)))
            return StakeUnknown(
                f"{serve} this model. It is not known now whether any is staked, which STAKE_PROVIDERS=require "
                f"demands: {why}"
            )
        are_not = "and is not staked" if len(peers) == 1 else "none of them is staked"
        return NoStakedPeer(
            f"{serve} this model, {are_not}, which STAKE_PROVIDERS=require demands. "
            f"{peers[0].location}: {_sentence(self.of(NodeId(peers[0].name)))} "
            "STAKE_ALLOW names nodes that are used anyway."
        )

    # ---- which peers this node serves ----

    async def vet(self, peer: NodeId) -> None:
        """May this peer be served? Waits for its advert and for the chain, bounded.

        Raises `StakeDemanded` if not, `StakeUndecided` when that cannot be told.
        """
        network = self._network
        if self._settings.callers is not StakeMode.REQUIRE:
            return
        if network is None:
            raise StakeUndecided("it serves staked nodes only, and its network is just ending.")
        verdict = self.of(peer)
        if verdict.answer is StakeAnswer.UNKNOWN:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ADVERT_WITHIN_S):
                    signed = await network.advert_of(peer)
                    verdict = await self.gate.verdict_when_known(peer, signed.advert.delegation)
        match verdict.answer:
            case StakeAnswer.STAKED | StakeAnswer.ALLOWED:
                return
            case StakeAnswer.NOT_STAKED:
                raise StakeDemanded(
                    f"it serves staked nodes only, and considers this one not staked: {_sentence(verdict)}"
                )
            case StakeAnswer.UNKNOWN:  # its reason may name this owner's servers
                raise StakeUndecided("it serves staked nodes only, and cannot tell now whether this one is. Try again.")

    def is_vetted(self, peer: NodeId) -> bool:
        """See `StakeRules`."""
        if self._settings.callers is not StakeMode.REQUIRE:
            return True
        return self._network is not None and self.of(peer).answer in (StakeAnswer.STAKED, StakeAnswer.ALLOWED)

    def rank(self, peer: str) -> int:
        """A peer's place while requests wait: lower numbers go first."""
        return _RANKS[self.of(NodeId(peer)).answer] if self._settings.callers is not StakeMode.OFF else 0

    # ---- for status pages ----

    def row(self, peer: NodeId) -> StakeRow:
        """For the list of peers. The chain is not read for those that are only listed."""
        return stake_row(self._verdict_on_listed(peer), time.time())

    def _verdict_on_listed(self, peer: NodeId) -> Verdict:
        network = self._network
        signed = network.gossip.advert_of(peer) if network is not None else None
        if network is None or signed is None or peer in network.links.sessions or peer in self._settings.allowed:
            return self.of(peer)
        delegation = signed.advert.delegation
        if delegation is None:
            return self.of(peer)
        return self.gate.verdict_if_known(peer, delegation) or _LOOKED_UP_LATER

    def linked_with(self, answer: str) -> float:
        """How many linked peers have this verdict."""
        return float(self._counts()[answer])

    def view(self) -> StakeView:
        """For `GET /api/v1/stake`."""
        settings, counts = self._settings, self._counts()
        return StakeView(
            self.summary,
            settings.providers,
            settings.callers,
            network_row(self._profile),
            stake_row(self.own(), time.time()),
            {answer.value: counts[answer.value] for answer in StakeAnswer},
            chain_row(self.gate.summary(), time.time()),
        )

    def _counts(self) -> Counter[str]:
        linked = list(self._network.links.sessions) if self._network is not None else []
        return Counter(self.of(peer).answer.value for peer in linked)


def _sentence(verdict: Verdict) -> str:
    """The reason with a full stop, unless it quotes a sentence that has one."""
    return f"{verdict.reason.rstrip('.')}."


def _not_up() -> Verdict:
    return Verdict(StakeAnswer.UNKNOWN, "this node's network is not up")
