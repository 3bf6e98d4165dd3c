"""What `masa-node stake status` shows."""

import time

from rich.table import Column, Table
from rich.text import Text

from masa_node.cli.output import console, plain
from masa_node.cli.stake.status import AccountView, DelegationView, Status
from masa_node.staking.contract.profile import BlockTag, Profile
from masa_node.staking.contract.reverts import amount_in_words, calendar_time

MAX_REASON_CHARS = 400
RENEW_WITHIN_S = 7 * 86_400  # the shortest notice that survives a week away
_STYLES = {"staked": "green", "allowed": "green", "not staked": "red", "unknown": "yellow"}


def print_status(status: Status, profile: Profile | None) -> None:
    """A table of what is known, and what to do next."""
    out = console()
    out.print(Text(f"staking: {status.staking}"))
    table = Table(Column(), Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    for name, value in _rows(status, profile):
        table.add_row(name, value)
    out.print(table)
    if status.network is not None and status.network.warning:
        out.print(Text(f"Warning: {status.network.warning}", style="yellow"))
    for hint in _hints(status, time.time()):
        out.print(Text(hint))


def _hints(status: Status, now_unix_s: float) -> list[str]:
    """What to do next."""
    if status.network is None:
        return ["STAKE_NETWORK sets a network profile; `masa-node devnet` makes one to try."]
    hints: list[str] = []
    if status.is_draft_waiting:
        hints.append("A delegation waits for its signature: masa-node stake delegate --signature 0x...")
    elif status.delegation is None:
        how = "with --owner or --keystore"
        hints.append(f"To stake: `masa-node stake deposit min`, then `masa-node stake delegate`, {how}.")
    if status.delegation is not None and status.delegation.not_after_unix_s - now_unix_s < RENEW_WITHIN_S:
        hints.append("The delegation ends soon, or has ended. Sign the next one: masa-node stake delegate")
    return hints


def _rows(status: Status, profile: Profile | None) -> list[tuple[str, Text]]:
    rows: list[tuple[str, Text]] = []
    if profile is not None and status.network is not None:
        rows += [
            ("network", Text(f"{profile.name}, chain {profile.chain_id}, contract {profile.contract}")),
            ("read from", Text(", ".join(status.rpc))),
            ("this node", Text(status.node_id)),
            ("delegation", Text(_delegation(status.delegation, time.time()))),
        ]
        if status.own is not None:
            words = Text(status.own.verdict, style=_STYLES.get(status.own.verdict, ""))
            words.append(f": {plain(status.own.reason, MAX_REASON_CHARS)}", style="default")
            rows.append(("verdict", words))
        rows += _account(status.account, status.account_why, profile)
    peers = status.peers
    counts = (
        ", ".join(f"{count} {plain(name, 20)}" for name, count in peers.items() if count) if peers else "none linked"
    )
    rows.append(("peers", Text(counts if peers is not None else plain(status.peers_why or "", MAX_REASON_CHARS))))
    return rows


def _account(account: AccountView | None, why: str | None, profile: Profile) -> list[tuple[str, Text]]:
    reason = Text(plain(why or "", MAX_REASON_CHARS))
    if account is None:
        return [("stake", reason)]
    minimum = amount_in_words(int(account.minimum_wei), profile)
    rows = [
        ("owner", account.owner),
        ("stake", f"{amount_in_words(int(account.stake_wei), profile)} ({minimum} for each node)"),
    ]
    if int(account.unbonding_wei):
        until = calendar_time(account.unbonding_until_unix_s or 0)
        rows.append(
            ("unbonding", f"{amount_in_words(int(account.unbonding_wei), profile)}, to be withdrawn from {until} on")
        )
    rows.append(("wallet", f"{amount_in_words(int(account.tokens_wei), profile)}, not staked"))
    if account.epoch:
        rows.append(("epoch", f"{account.epoch}: delegations of an earlier one are revoked"))
    block = reason if account.block is None else Text(_block(account, profile))
    return [*((name, Text(value)) for name, value in rows), ("block", block)]


def _block(account: AccountView, profile: Profile) -> str:
    """The one that the verdict is of."""
    age = f"{account.block}, {account.age_s} s old"
    if profile.block_tag is BlockTag.LATEST:
        return age
    return f"{age}: the newest that is {profile.block_tag.value}. The amounts above may be newer"


def _delegation(delegation: DelegationView | None, now_unix_s: float) -> str:
    if delegation is None:
        return "none"
    is_over = delegation.not_after_unix_s <= now_unix_s
    how = "ended" if is_over else "until"
    kind = ", a contract" if delegation.is_contract else ""
    return f"by {delegation.owner}{kind}, epoch {delegation.epoch}, {how} {calendar_time(delegation.not_after_unix_s)}"
