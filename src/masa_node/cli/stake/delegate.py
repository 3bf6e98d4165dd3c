"""`masa-node stake delegate`: the owner signs, in any wallet, that this node's key acts for their stake."""

import re
import time
from pathlib import Path

import msgspec
import typer

from masa_node.chat.errors import ConfigurationError
from masa_node.cli.output import print_json
from masa_node.cli.stake.confirm import unless_left
from masa_node.cli.stake.context import DELEGATION, DRAFT, StakeContext, address_given, is_a_person_there, tell
from masa_node.cli.stake.keystore import ask_passphrase, unlock
from masa_node.staking.contract.account import has_code
from masa_node.staking.contract.profile import Profile
from masa_node.staking.contract.reverts import amount_in_words, calendar_time
from masa_node.staking.delegation import (
    BadDelegation,
    Delegation,
    Domain,
    SignedDelegation,
    check,
    digest,
    encode,
    typed_data,
)
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.chain import Chain
from masa_node.staking.gate.values import Reading

DAY_S = 86_400
_HEX = re.compile(r"\A(?:[0-9a-fA-F]{2}){1,1024}\Z")  # no longer one has room in an advert
FINISH = "masa-node stake delegate --signature 0x..."


class WantedDelegation(msgspec.Struct, frozen=True):
    """What the options say."""

    owner: str
    days: int
    is_contract: bool
    keystore: str
    signature: str
    json: bool


def delegate(wanted: WantedDelegation) -> None:
    """Make, sign or finish one. Raises `ConfigurationError`, `BadDelegation`, `ChainUnknown`."""
    if wanted.signature and wanted.keystore:
        raise ConfigurationError("--signature is what a wallet gave, --keystore signs here. Leave one of them out.")
    with StakeContext() as context:
        if wanted.signature:
            _finish(context, _draft(context, wanted), wanted.signature, wanted)
            return
        draft = _new_draft(context, wanted)
        if wanted.keystore:
            _save(context, _signed_here(draft, Path(wanted.keystore), context.profile), wanted)
            return
        context.run(context.keep(DRAFT, encode(draft)))
        _show(draft, context.profile, wanted)
        if not wanted.json and is_a_person_there():
            _finish(context, draft, typer.prompt("Signature (0x...)", err=True), wanted)


def forget(*, json: bool) -> None:
    """Take the delegation, and one that waits for its signature, off this node. Raises `StoreFailed`."""
    with StakeContext() as context:
        owner = context.run(context.known_owner())
        context.run(context.keep(DELEGATION, b""))
        context.run(context.keep(DRAFT, b""))
    if json:
        print_json({"owner": owner})
    elif owner is None:
        print("This node shows no delegation.")
    else:
        print(f"This node no longer acts for the stake of {owner}. Peers that have seen its delegation still know it.")


def _new_draft(context: StakeContext, wanted: WantedDelegation) -> SignedDelegation:
    profile = context.profile
    owner = _owner(context, wanted)
    reading = context.run(_read(context, owner))
    _check_kind(context, owner, is_contract=wanted.is_contract)
    now_unix_s = int(time.time())
    delegation = Delegation(
        owner,
        bytes.fromhex(context.run(context.node_id())),
        reading.epoch,
        now_unix_s,
        now_unix_s + wanted.days * DAY_S,
        _domain(profile),
    )
    return SignedDelegation(delegation, b"", wanted.is_contract)


def _signed_here(draft: SignedDelegation, keystore: Path, profile: Profile) -> SignedDelegation:
    """Typing the passphrase is the consent: the delegation is printed before."""
    delegation = draft.delegation
    tell(f"To be signed by {delegation.owner}:\n  {_meaning(delegation, profile)}")
    with unless_left("Nothing was signed."):
        wallet = unlock(keystore, ask_passphrase(keystore), delegation.owner)
    return msgspec.structs.replace(draft, signature=wallet.sign_typed_data(typed_data(delegation)))


def _meaning(d: Delegation, profile: Profile) -> str:
    """What the owner signs, in words."""
    return (
        f"Node {d.node_key.hex()} acts for this wallet's stake in {d.domain.contract} on chain {d.domain.chain_id} "
        f"({profile.name}) until {calendar_time(d.not_after_unix_s)}. This moves no tokens and costs nothing."
        f"{_epoch(d.epoch)}"
    )


def _epoch(epoch: int) -> str:
    """A server that lies about it would get a delegation that the next revocations do not end."""
    if epoch == 0:
        return ""
    times = "once" if epoch == 1 else f"{epoch} times"
    return f" Its epoch is {epoch}: this wallet has revoked {times}. Do not sign it if it has not."


def _owner(context: StakeContext, wanted: WantedDelegation) -> Address:
    named = address_given(wanted.owner, "--owner")
    if wanted.keystore:
        from masa_node.cli.stake.keystore import owner_of  # noqa: PLC0415 - beside the rest of it

        return owner_of(Path(wanted.keystore), named)
    owner = named or context.run(context.known_owner())
    if owner is None:
        raise ConfigurationError("Whose stake is it? Name the wallet: --owner ADDRESS, or --keystore FILE.")
    return owner


def _check_kind(context: StakeContext, owner: Address, *, is_contract: bool) -> None:
    async def look() -> bool:
        return await has_code(await context.rpc(), owner)

    if context.run(look()) == is_contract:
        return
    if is_contract:
        raise ConfigurationError(f"--contract-owner: at {owner} is no contract on chain {context.profile.chain_id}.")
    raise ConfigurationError(f"{owner} is a contract (a Safe?), which signs differently: give --contract-owner too.")


def _show(draft: SignedDelegation, profile: Profile, wanted: WantedDelegation) -> None:
    owner, data = draft.delegation.owner, typed_data(draft.delegation)
    if wanted.json:
        print_json({"owner": owner, "typed_data": data, "next": FINISH})
        return
    tell(f"Let {owner} sign the typed data below (EIP-712). It says:\n  {_meaning(draft.delegation, profile)}")
    if draft.is_contract:
        tell("A Safe signs it as a message, with its own tools. If it keeps the signature on the chain: 0x.\n")
    else:
        tell(f"In a browser whose wallet is on chain {profile.chain_id}, open the console (F12) on any https page:")
        tell('  await ethereum.request({method: "eth_requestAccounts"})')
        tell(f'  await ethereum.request({{method: "eth_signTypedData_v4", params: ["{owner}", JSON.stringify(DATA)]}})')
        tell("with the data below in place of DATA. With Foundry: cast wallet sign --data --from-file FILE\n")
    print_json(data)
    tell(f"\nThe draft is saved. To finish, with the signature: {FINISH}")


def _draft(context: StakeContext, wanted: WantedDelegation) -> SignedDelegation:
    """The stored draft. Raises `ConfigurationError` when there is none, or one of somebody else."""
    draft = context.run(context.stored(DRAFT))
    if draft is None:
        raise ConfigurationError(
            "No delegation waits for a signature. Begin with: masa-node stake delegate --owner ADDRESS"
        )
    owner = draft.delegation.owner
    if address_given(wanted.owner, "--owner") not in (None, owner):
        raise ConfigurationError(
            f"The delegation that waits for a signature is of {owner}. Begin again, or leave --owner out."
        )
    return draft


def _finish(context: StakeContext, draft: SignedDelegation, text: str, wanted: WantedDelegation) -> None:
    signature = _signature(text, may_be_empty=draft.is_contract)
    _save(context, msgspec.structs.replace(draft, signature=signature), wanted)


def _signature(text: str, *, may_be_empty: bool) -> bytes:
    """A Safe that keeps its signatures on the chain takes an empty one (`0x`) for them."""
    given = text.strip().strip("\"'")
    bare = given.removeprefix("0x")
    if may_be_empty and given == "0x":
        return b""
    if not _HEX.match(bare):
        raise ConfigurationError("That is not a signature: 0x and hex digits, as the wallet gave them.")
    return bytes.fromhex(bare)


def _save(context: StakeContext, signed: SignedDelegation, wanted: WantedDelegation) -> None:
    """Store it if it is valid; the running node presents it within seconds."""
    reading = context.run(_verified(context, signed))
    context.run(context.keep(DELEGATION, encode(signed)))
    context.run(context.keep(DRAFT, b""))
    d = signed.delegation
    if wanted.json:
        print_json(
            {
                "owner": d.owner,
                "node_id": d.node_key.hex(),
                "epoch": d.epoch,
                "not_after_unix_s": d.not_after_unix_s,
                "stake_wei": str(reading.stake_wei),
                "minimum_wei": str(reading.minimum_wei),
            }
        )
        return
    until = calendar_time(d.not_after_unix_s)
    print(f"This node acts for the stake of {d.owner} until {until}. If it runs, it shows that within seconds.")
    if reading.stake_wei < reading.minimum_wei or not reading.stake_wei:
        have, need = (amount_in_words(wei, context.profile) for wei in (reading.stake_wei, reading.minimum_wei))
        print(f"The stake is {have}, and {need} are needed: masa-node stake deposit min")


async def _verified(context: StakeContext, signed: SignedDelegation) -> Reading:
    """What the chain says of the owner. Raises `BadDelegation`, `ChainUnknown`."""
    d = signed.delegation
    check(signed, await context.node_id(), _domain(context.profile), time.time())
    reading = await _read(context, d.owner)
    if d.epoch < reading.epoch:
        raise BadDelegation("Delegations were revoked since this one was made. Begin again: masa-node stake delegate")
    if signed.is_contract:
        chain = Chain(await context.rpc(), context.profile)
        if not await chain.is_signed(d.owner, digest(d), signed.signature):
            raise BadDelegation(
                f"The contract {d.owner} does not take this for its signature. Have its owners sign it."
            )
    return reading


async def _read(context: StakeContext, owner: Address) -> Reading:
    return await Chain(await context.rpc(), context.profile).read(owner)


def _domain(profile: Profile) -> Domain:
    return Domain(profile.chain_id, profile.contract)
