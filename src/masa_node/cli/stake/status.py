"""`masa-node stake status`: policies, delegation, stake and verdict, read from the chain now."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence

import msgspec

from masa_node.chat.errors import ChainUnknown, MasaError
from masa_node.cli.models import check_status
from masa_node.cli.output import key_header
from masa_node.cli.peers.actions import url_of_running_node
from masa_node.cli.stake.context import DELEGATION, DRAFT, StakeContext
from masa_node.node.settings.words import listed
from masa_node.node.views import STAKING_OFF, StakeNetworkView, StakeRow, network_row, stake_row
from masa_node.routing.answers.reader import read_whole
from masa_node.staking.contract.account import Account, read_account
from masa_node.staking.contract.profile import Profile
from masa_node.staking.delegation import SignedDelegation, encode
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.ethereum.rpc import shown_url
from masa_node.staking.gate.chain import Chain, ReadsChain
from masa_node.staking.gate.gate import Gate
from masa_node.staking.gate.values import Reading, Verdict
from masa_node.upstreams.http.client import HttpClient

MAX_ANSWER_BYTES = 1024 * 1024  # `GET /api/v1/stake` takes some kilobytes
VERDICT_WITHIN_S = 15.0  # a second for each RPC URL, twice


class DelegationView(msgspec.Struct, frozen=True):
    """What this node shows to its peers."""

    owner: str
    is_contract: bool
    epoch: int
    not_before_unix_s: int
    not_after_unix_s: int


class AccountView(msgspec.Struct, frozen=True):
    """The owner on the chain. Amounts are text, in the token's smallest unit. `age_s` is that of the block."""

    owner: str
    stake_wei: str
    minimum_wei: str
    unbonding_wei: str
    unbonding_until_unix_s: int | None
    tokens_wei: str
    epoch: int
    block: int | None
    age_s: int | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. What is not known is null, and its `why` says why."""

    staking: str
    providers: str
    callers: str
    network: StakeNetworkView | None = None
    rpc: Sequence[str] = ()
    node_id: str = ""
    delegation: DelegationView | None = None
    is_draft_waiting: bool = False
    own: StakeRow | None = None
    account: AccountView | None = None
    account_why: str | None = None
    peers: dict[str, int] | None = None
    peers_why: str | None = None


class _StakeAnswer(msgspec.Struct):
    """The fields used of `GET /api/v1/stake`."""

    own: StakeRow | None = None
    peers: dict[str, int] = {}


class _Noting(ReadsChain):
    """A chain that remembers what was read last."""

    def __init__(self, chain: ReadsChain) -> None:
        self._chain = chain
        self.last: Reading | None = None

    async def read(self, owner: Address) -> Reading:
        self.last = await self._chain.read(owner)
        return self.last

    async def is_signed(self, owner: Address, digest: bytes, signature: bytes) -> bool:
        return await self._chain.is_signed(owner, digest, signature)


class _KeepsNothing:
    """Forgets all readings: a status is of now."""

    async def load_readings(self) -> list[bytes]:
        return []

    async def keep_readings(self, readings: Mapping[str, bytes]) -> None:
        pass


def status(owner: Address | None) -> tuple[Status, Profile | None]:
    """As things are now; unless named, the owner is the delegation's. Raises `ConfigurationError`, `StoreFailed`."""
    with StakeContext() as context:
        return context.run(_status(context, owner)), context.stake.profile


async def _status(context: StakeContext, named: Address | None) -> Status:
    stake, profile = context.stake, context.stake.profile
    line = STAKING_OFF if stake.is_off else f"on - providers: {stake.providers}, callers: {stake.callers}"
    stake_answer, no_answer_why = await _ask_node(context)
    report = Status(
        staking=line,
        providers=stake.providers.value,
        callers=stake.callers.value,
        peers=stake_answer.peers if stake_answer is not None else None,
        peers_why=no_answer_why,
    )
    if profile is None:
        return report
    node_id = await context.node_id()
    signed, draft = await context.stored(DELEGATION), await context.stored(DRAFT)
    noting = _Noting(Chain(await context.rpc(), profile))
    verdict = await _verdict(context, noting, node_id, signed)
    owner = named or await context.known_owner()
    account, account_why = await _account(context, noting, owner)
    return msgspec.structs.replace(
        report,
        network=network_row(profile),
        rpc=[shown_url(url) for url in profile.rpc_urls],
        node_id=node_id,
        delegation=_delegation(signed),
        is_draft_waiting=draft is not None,
        own=_own(stake_row(verdict, time.time()), stake_answer),
        account=account,
        account_why=account_why,
    )


async def _verdict(context: StakeContext, chain: ReadsChain, node_id: str, signed: SignedDelegation | None) -> Verdict:
    """By the same rules as a running node's, with nothing remembered."""
    gate = Gate(context.profile, chain, frozenset(context.stake.allowed), random.Random())  # noqa: S311 - jitter
    delegation = encode(signed) if signed is not None else None
    async with asyncio.TaskGroup() as group:
        running = group.create_task(gate.run(_KeepsNothing()))
        try:
            async with asyncio.timeout(VERDICT_WITHIN_S):
                verdict = await gate.verdict_when_known(node_id, delegation)
        except TimeoutError:
            verdict = gate.verdict(node_id, delegation)
        finally:
            running.cancel()
    return verdict


def _own(row: StakeRow, stake_answer: _StakeAnswer | None) -> StakeRow:
    """The running node's row, where that knows more of the same owner's stake.

    One stake may be too little for all of an owner's nodes, and only the running node has seen the others. And while
    the chain cannot be read, it goes on with what it read before.
    """
    own = stake_answer.own if stake_answer is not None else None
    if own is None or own.nodes is None or own.owner != row.owner:
        return row
    if row.verdict == "unknown":
        return own
    return own if row.verdict == "staked" and own.nodes > (row.nodes or 0) else row


async def _account(
    context: StakeContext, chain: _Noting, owner: Address | None
) -> tuple[AccountView | None, str | None]:
    if owner is None:
        return None, "No owner is known: this node has no delegation. `masa-node stake delegate` makes one."
    try:
        account = await read_account(await context.rpc(), context.profile, owner)
    except ChainUnknown as exc:
        return None, exc.message
    try:
        reading = chain.last if chain.last is not None and chain.last.owner == owner else await chain.read(owner)
    except ChainUnknown as exc:  # a head that is old: what it says is shown, and that it does not count
        return _account_view(account, None), exc.message
    return _account_view(account, reading), None


def _account_view(account: Account, reading: Reading | None) -> AccountView:
    return AccountView(
        account.owner,
        str(account.stake_wei),
        str(account.minimum_wei),
        str(account.unbonding_wei),
        account.unbonding_until_unix_s or None,
        str(account.tokens_wei),
        account.epoch,
        reading.block if reading is not None else None,
        max(0, int(time.time() - reading.block_unix_s)) if reading is not None else None,
    )


def _delegation(signed: SignedDelegation | None) -> DelegationView | None:
    if signed is None:
        return None
    d = signed.delegation
    return DelegationView(d.owner, signed.is_contract, d.epoch, d.not_before_unix_s, d.not_after_unix_s)


async def _ask_node(context: StakeContext) -> tuple[_StakeAnswer | None, str | None]:
    """What the running node knows, or why it gives no answer."""
    url = await url_of_running_node(context.masa_dir)
    if not url:
        return None, "no node is known to run with this MASA_DIR."
    keys = listed(context.settings.api_key)
    headers = key_header(keys)
    try:
        async with HttpClient() as http:
            answer = await http.get(f"{url}/api/v1/stake", headers)
            body = await read_whole(answer, MAX_ANSWER_BYTES)
        check_status(answer.status, "its stakes")
        return msgspec.json.decode(body, type=_StakeAnswer), None
    except MasaError as exc:
        return None, f"the node at {url} does not say: {exc.message}"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, f"the node at {url} does not say: it answers something else."
