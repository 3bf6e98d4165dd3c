"""The commands about this node's stake: `stake status|delegate|forget|deposit|unbond|withdraw|revoke`."""

from typing import Annotated

import typer

from masa_node.cli.output import Group, Json, print_json

MAX_DAYS = 90  # as delegation.MAX_LIFETIME_S: nobody takes a longer one

OwnerOption = Annotated[
    str, typer.Option(help="Whose stake: a wallet's address. Unset: that of this node's delegation.", metavar="ADDRESS")
]
KeystoreOption = Annotated[
    str,
    typer.Option(
        help="Sign with the key in this file, as wallets export it (needs the `stake` extra).", metavar="FILE"
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Sign without asking.")]

stake_app = typer.Typer(
    no_args_is_help=True, help="This node's stake: see it, delegate it to this node, deposit it, take it out."
)


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.add_typer(stake_app, name="stake", rich_help_panel=Group.STAKES)


@stake_app.command()
def status(owner: OwnerOption = "", *, json: Json = False) -> None:
    """Show the policies, this node's delegation, its owner's stake on the chain now, and what follows."""
    from masa_node.cli.stake.context import address_given  # noqa: PLC0415 - the other commands need no chain code
    from masa_node.cli.stake.output import print_status  # noqa: PLC0415
    from masa_node.cli.stake.status import status as read_status  # noqa: PLC0415

    found, profile = read_status(address_given(owner, "--owner"))
    print_json(found) if json else print_status(found, profile)


@stake_app.command()
def delegate(
    owner: OwnerOption = "",
    days: Annotated[int, typer.Option(help="How long it is valid.", min=1, max=MAX_DAYS)] = 30,
    keystore: KeystoreOption = "",
    signature: Annotated[
        str, typer.Option(help="The wallet's signature of the typed data printed before.", metavar="HEX")
    ] = "",
    *,
    contract_owner: Annotated[
        bool, typer.Option("--contract-owner", help="The owner is a contract, such as a Safe (ERC-1271).")
    ] = False,
    json: Json = False,
) -> None:
    """Let the owner sign that this node acts for their stake. No key needs to come to this machine."""
    from masa_node.cli.stake.delegate import WantedDelegation  # noqa: PLC0415 - as above
    from masa_node.cli.stake.delegate import delegate as delegate_to_node  # noqa: PLC0415

    delegate_to_node(WantedDelegation(owner, days, contract_owner, keystore, signature, json))


@stake_app.command()
def forget(*, json: Json = False) -> None:
    """Take the delegation off this node: it is shown to nobody any more. It stays valid; see `revoke`."""
    from masa_node.cli.stake.delegate import forget as forget_delegation  # noqa: PLC0415 - as above

    forget_delegation(json=json)


@stake_app.command()
def deposit(
    amount: Annotated[str, typer.Argument(help="How much, or `min` for the least that one node needs.")],
    owner: OwnerOption = "",
    keystore: KeystoreOption = "",
    *,
    yes: YesOption = False,
    json: Json = False,
) -> None:
    """Stake tokens: approve exactly this amount, then deposit it. Without --keystore, print both for any wallet."""
    from masa_node.cli.stake.send import WantedAct, act  # noqa: PLC0415 - as above
    from masa_node.staking.contract import calls  # noqa: PLC0415

    after = "`masa-node stake status` shows the stake."
    act(WantedAct(lambda known, profile: calls.deposit(amount, known, profile), owner, keystore, yes, json, after))


@stake_app.command()
def unbond(
    amount: Annotated[str, typer.Argument(help="How much, or `all`.")],
    owner: OwnerOption = "",
    keystore: KeystoreOption = "",
    *,
    yes: YesOption = False,
    json: Json = False,
) -> None:
    """Begin to take stake out: it counts no more, and may be withdrawn after the unbonding period."""
    from masa_node.cli.stake.send import WantedAct, act  # noqa: PLC0415 - as above
    from masa_node.staking.contract import calls  # noqa: PLC0415

    after = "`masa-node stake status` shows until when it is unbonding; `masa-node stake withdraw` takes it out then."
    act(WantedAct(lambda known, profile: calls.unbond(amount, known, profile), owner, keystore, yes, json, after))


@stake_app.command()
def withdraw(
    amount: Annotated[str, typer.Argument(help="How much, or `all`.")] = "all",
    owner: OwnerOption = "",
    keystore: KeystoreOption = "",
    *,
    yes: YesOption = False,
    json: Json = False,
) -> None:
    """Take out what has been unbonding for long enough. From a contract without unbonding: stake itself, at once."""
    from masa_node.cli.stake.send import WantedAct, act  # noqa: PLC0415 - as above
    from masa_node.staking.contract import calls  # noqa: PLC0415

    after = "`masa-node stake status` shows what is left."
    act(WantedAct(lambda known, profile: calls.withdraw(amount, known, profile), owner, keystore, yes, json, after))


@stake_app.command()
def revoke(
    owner: OwnerOption = "", keystore: KeystoreOption = "", *, yes: YesOption = False, json: Json = False
) -> None:
    """End every delegation that the owner has signed so far, on all of their nodes."""
    from masa_node.cli.stake.send import WantedAct, act  # noqa: PLC0415 - as above
    from masa_node.staking.contract import calls  # noqa: PLC0415

    after = "Each node that is to go on needs a new one: masa-node stake delegate"
    act(WantedAct(calls.revoke, owner, keystore, yes, json, after))
