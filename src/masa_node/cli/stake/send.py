"""`masa-node stake deposit|unbond|withdraw|revoke`: what is to be signed is shown, asked about, sent and waited for."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from masa_node.chat.errors import ConfigurationError
from masa_node.cli.output import print_json
from masa_node.cli.stake.confirm import confirm, unless_left
from masa_node.cli.stake.context import StakeContext, address_given, is_a_person_there, tell
from masa_node.cli.stake.keystore import ask_passphrase, owner_of, unlock
from masa_node.staking.contract.account import Account, Terms, read_account, read_terms
from masa_node.staking.contract.profile import Profile
from masa_node.staking.contract.transactions import (
    CannotPay,
    ContractCall,
    Draft,
    Receipt,
    TransactionRefused,
    coins_in_words,
    hex_of,
    prepare,
    send,
    wait_for_receipt,
)
from masa_node.staking.contract.wallet import Wallet
from masa_node.staking.ethereum.crypto import Address

MAX_UNASKED_FEE_WEI = 10**17  # 0.1 coins: with --yes nobody sees what a lying server says that gas costs
AGREED_LOOKS = 15  # servers behind one URL learn of a block within seconds
AGREED_EVERY_S = 1.0


class WantedAct(msgspec.Struct, frozen=True):
    """What the options say. `plan` makes the calls of an account, or, where nobody is named, of the terms."""

    plan: Callable[[Account | Terms, Profile], list[ContractCall]]
    owner: str
    keystore: str
    yes: bool
    json: bool
    after: str


class Sent(msgspec.Struct, frozen=True):
    """One transaction that was carried out."""

    words: str
    to: Address
    receipt: Receipt


def act(wanted: WantedAct) -> None:
    """Print what is to be signed; with a keystore, sign and send it.

    Raises `ConfigurationError`, `NotPossible`, `ChainUnknown`, `Declined`, and the errors of transactions and wallets.
    """
    if wanted.keystore and not wanted.yes and not is_a_person_there():
        raise ConfigurationError("There is no terminal to ask at. Give --yes to sign without being asked.")
    with StakeContext() as context:
        owner = _owner(context, wanted)
        known = context.run(_known(context, owner))
        contract_calls = wanted.plan(known, context.profile)
        if wanted.keystore:
            _sign_and_send(context, known, contract_calls, wanted)
        else:
            _print_unsigned(contract_calls, owner, context.profile, wanted)


def _owner(context: StakeContext, wanted: WantedAct) -> Address | None:
    named = address_given(wanted.owner, "--owner")
    if wanted.keystore:
        return owner_of(Path(wanted.keystore), named)
    return named or context.run(context.known_owner())


async def _known(context: StakeContext, owner: Address | None) -> Account | Terms:
    rpc = await context.rpc()
    return await read_terms(rpc, context.profile) if owner is None else await read_account(rpc, context.profile, owner)


def _print_unsigned(
    contract_calls: list[ContractCall], owner: Address | None, profile: Profile, wanted: WantedAct
) -> None:
    rows = [_row(contract_call, profile) for contract_call in contract_calls]
    if wanted.json:
        print_json({"owner": owner, "unsigned": rows, "next": wanted.after})
        return
    who = owner or "the owner"
    tell(f"Let {who} send, in any wallet or Safe, {'this' if len(rows) == 1 else 'these, one after the other'}:")
    for row in rows:
        print(f"\n{row['words']}")
        for name in ("to", "data", "value", "chain_id"):
            print(f"  {name}: {row[name]}")
    tell(f"\nNothing was sent. --keystore FILE sends it from here. {wanted.after}")


def _row(contract_call: ContractCall, profile: Profile) -> dict[str, object]:
    return {
        "words": contract_call.words,
        "to": contract_call.to,
        "data": hex_of(contract_call.data),
        "value": "0x0",
        "chain_id": profile.chain_id,
    }


def _sign_and_send(
    context: StakeContext, known: Account | Terms, contract_calls: list[ContractCall], wanted: WantedAct
) -> None:
    assert isinstance(known, Account)  # noqa: S101 - a keystore names its owner
    sent: list[Sent] = []
    wallet: Wallet | None = None
    for number, contract_call in enumerate(contract_calls, 1):
        draft = context.run(_prepared(context, known.owner, contract_call, is_second=bool(sent)))
        _show(context.profile, known.owner, contract_call, draft, f"{number} of {len(contract_calls)}")
        otherwise = "The transaction before it is done, this one was not sent." if sent else "Nothing was sent."
        with unless_left(otherwise):
            _confirm_fee(draft, wanted, otherwise)
            wallet = wallet or unlock(Path(wanted.keystore), ask_passphrase(Path(wanted.keystore)), known.owner)
        receipt = context.run(_send(context, known.owner, draft, wallet.sign_transaction(draft)))
        sent.append(Sent(contract_call.words, contract_call.to, receipt))
    _print_sent(sent, known.owner, wanted)


async def _prepared(context: StakeContext, owner: Address, contract_call: ContractCall, *, is_second: bool) -> Draft:
    """Estimated; one that needs the transaction before it, as soon as the server knows of that."""
    rpc = await context.rpc()
    for _ in range(AGREED_LOOKS if is_second else 0):
        try:
            return await prepare(rpc, context.profile, owner, contract_call)
        except CannotPay:
            raise
        except TransactionRefused:
            await asyncio.sleep(AGREED_EVERY_S)
    with Console(stderr=True).status("Estimating ..."):
        return await prepare(rpc, context.profile, owner, contract_call)


def _show(profile: Profile, owner: Address, contract_call: ContractCall, draft: Draft, which: str) -> None:
    tell(f"\nTransaction {which}, to be signed by {owner}:")
    tell(f"  {contract_call.words}")
    tell(f"  contract {contract_call.to} on chain {draft.chain_id} ({profile.name}), nonce {draft.nonce}")
    tell(f"  fee: at most {coins_in_words(draft.cost_wei)} (the chain's own, such as ETH)")


def _confirm_fee(draft: Draft, wanted: WantedAct, otherwise: str) -> None:
    """Raises `Declined`; `ConfigurationError` for a fee that is not paid unasked."""
    if wanted.yes:
        if draft.cost_wei > MAX_UNASKED_FEE_WEI:
            raise ConfigurationError(
                f"--yes: a fee of up to {coins_in_words(draft.cost_wei)} is not paid unasked; "
                f"{coins_in_words(MAX_UNASKED_FEE_WEI)} is the limit. Is RPC_URL to be trusted? Leave --yes out."
            )
        return
    confirm("Sign and send it?", otherwise)


async def _send(context: StakeContext, owner: Address, draft: Draft, signed: bytes) -> Receipt:
    rpc = await context.rpc()
    try:
        sent_hash = await send(rpc, signed)
        tell(f"  sent: {sent_hash}")
        with Console(stderr=True).status("Waiting for its block ..."):
            receipt = await wait_for_receipt(rpc, context.profile, owner, draft, sent_hash)
    except asyncio.CancelledError:  # Ctrl-C
        tell("\nIt goes on without this command. See your wallet before you send another.")
        raise
    tell(f"  done in block {receipt.block}; the fee was {coins_in_words(receipt.fee_wei)}")
    return receipt


def _print_sent(sent: list[Sent], owner: Address, wanted: WantedAct) -> None:
    if wanted.json:
        rows = [
            {
                "words": each.words,
                "to": each.to,
                **msgspec.structs.asdict(each.receipt),
                "fee_wei": str(each.receipt.fee_wei),
            }
            for each in sent
        ]
        print_json({"owner": owner, "transactions": rows, "next": wanted.after})
        return
    print(f"Done. {wanted.after}")
