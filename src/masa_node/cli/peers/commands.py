"""The commands about peers: `invite`, `invites`, `join`, `peers`, `id`."""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from masa_node.chat.errors import ConfigurationError, ProviderError
from masa_node.cli.output import Group, Json, calendar_time, print_json
from masa_node.network.links.invites import MAX_LASTS_S, MIN_LASTS_S, write_bootnode
from masa_node.network.store.commands import Verb
from masa_node.network.transport.interfaces import PeerAddress
from masa_node.node.doctor.findings import Finding
from masa_node.node.doctor.report import in_words
from masa_node.node.proxies import read_proxies
from masa_node.node.settings.environment import Settings, read_settings
from masa_node.node.settings.words import listed
from masa_node.node.views import STAKING_OFF

MAX_USES = 10_000  # as many as a node knows peers
MAX_NOTE_CHARS = 200  # as the store keeps

_STAKES_UNSEEN = "not checked now: no node is on the network with this MASA_DIR"
_UNITS_S = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_ABOUT = {
    Verb.FORGET: "Forget a peer. It may come back; see `block`.",
    Verb.BLOCK: "Block a peer: close its link, and neither ask nor serve it.",
    Verb.UNBLOCK: "Unblock a peer.",
    Verb.TRUST: "Let a peer see requests marked `X-Masa-Privacy: trusted`.",
    Verb.UNTRUST: "Stop trusting a peer.",
}

peers_app = typer.Typer(invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command(rich_help_panel=Group.PEERS)(invite)
    app.command(rich_help_panel=Group.PEERS)(invites)
    app.command(rich_help_panel=Group.PEERS)(join)
    app.add_typer(peers_app, name="peers", rich_help_panel=Group.PEERS)
    app.command("id", rich_help_panel=Group.PEERS)(identity)


def invite(
    expires: Annotated[str, typer.Option(help="How long it may be used: 30m, 24h, 7d.")] = "24h",
    uses: Annotated[int, typer.Option(help="How many nodes may join by it.", min=1, max=MAX_USES)] = 1,
    note: Annotated[str, typer.Option(help="For whom it is: of an invite for one node, its name here.")] = "",
    relay: Annotated[
        str, typer.Option(help="Relay for friends elsewhere, kept from now on: public, a URL, none.", metavar="RELAY")
    ] = "",
    *,
    qr: Annotated[bool, typer.Option("--qr", help="Also show the link as a QR code, on stderr.")] = False,
    json: Json = False,
) -> None:
    """Make a link by which another node may join this one's network. The link goes to stdout, all else to stderr."""
    from masa_node.cli.peers.actions import commanded  # noqa: PLC0415 - other commands need no store
    from masa_node.node.owner.invites import WantedInvite, choose_relay, make_invite  # noqa: PLC0415

    if len(note) > MAX_NOTE_CHARS:
        raise ConfigurationError(f"--note: {len(note)} characters; the limit is {MAX_NOTE_CHARS}.")
    values = _settings()
    wanted = WantedInvite(_seconds(expires), uses, note, _nobody_asked if values.relay_url else _ask_about_relays)
    if relay:
        asyncio.run(choose_relay(commanded(_masa_dir(values)), relay, values))
    made = asyncio.run(make_invite(commanded(_masa_dir(values)), wanted))
    if json:
        print_json(made)
        return
    print(made.link, flush=True)
    if qr:
        from masa_node.node.owner.qr import qr_for_terminal  # noqa: PLC0415 - as above

        _tell(f"\n{qr_for_terminal(made.link)}")
    who = "one node" if made.uses == 1 else f"{made.uses} nodes"
    _tell(f"\nWith this link {who} may join until {calendar_time(made.expires_at_unix_s)}. Give it to nobody else.")
    _tell("On the other node: masa-node join LINK")
    _tell(f"To revoke it:      masa-node invites --revoke {made.id}")
    if not made.is_running:
        _tell("This node is not running. It must run for another to join: masa-node up")
    _tell_reach(made.address, made.missed_relay)


def invites(
    revoke: Annotated[str, typer.Option(help="Revoke the invite with this id.", metavar="ID")] = "",
    *,
    json: Json = False,
) -> None:
    """List the invites that were made, or end one of them."""
    from masa_node.cli.peers.actions import commanded  # noqa: PLC0415 - as above
    from masa_node.cli.peers.listing import print_invites  # noqa: PLC0415
    from masa_node.node.owner.invites import invite_id, list_invites, revoke_invite  # noqa: PLC0415

    node = commanded(_masa_dir(_settings()))
    if revoke:
        ended = asyncio.run(revoke_invite(node, revoke))
        gone = f"Invite {ended} lets nobody in any more. Members that joined by it stay."
        print_json({"revoked": ended}) if json else print(gone)
        return
    found = asyncio.run(list_invites(node))
    if json:
        print_json([{"id": invite_id(each), **_without_hash(each)} for each in found])
    else:
        print_invites(found, time.time())


def join(link: Annotated[str, typer.Argument(help="What `masa-node invite` printed.")], *, json: Json = False) -> None:
    """Join a network by the link that another node's owner gave you."""
    from masa_node.cli.peers.actions import commanded  # noqa: PLC0415 - as above
    from masa_node.node.owner.peers import join as join_by  # noqa: PLC0415

    answer = asyncio.run(join_by(commanded(_masa_dir(_settings())), link))
    print_json(answer) if json else print(answer.words)


@peers_app.callback()
def peers(
    context: typer.Context,
    url: Annotated[str, typer.Option(help="Address of the node. Unset: this machine, at PORT.")] = "",
    *,
    shows_all: Annotated[bool, typer.Option("--all", help="Also show peers that are only heard of.")] = False,
    json: Json = False,
) -> None:
    """List the peers: which are connected, directly or through a relay, and what they share. Or change one."""
    if context.invoked_subcommand is not None:
        return
    from masa_node.cli.peers.actions import refused_join, show_peers  # noqa: PLC0415 - as above
    from masa_node.cli.peers.listing import print_peers  # noqa: PLC0415

    values = _settings()
    default_url = f"http://127.0.0.1:{values.port}"
    keys = listed(values.api_key)
    network = asyncio.run(show_peers(_masa_dir(values), url, default_url, keys, read_proxies(values)))
    if not network.staking and not url:  # no node tells
        network = msgspec.structs.replace(network, staking=STAKING_OFF if _is_off(values) else _STAKES_UNSEEN)
    if json:
        print_json(network)
    else:
        print_peers(network, shows_all=shows_all)
        is_alone = network.state == "on" and not any(peer.connected for peer in network.peers)
        lines = _troubles(values, url) if is_alone else []
        is_told = bool(url) or any(line.check == "join" for line in lines)
        if not is_told and (why := asyncio.run(refused_join(_masa_dir(values)))):
            print(f"The last join was refused: {why}")
        for line in lines:
            print(in_words(line))


def identity(*, json: Json = False) -> None:
    """Print this node's id and its entry for the BOOTNODES of others."""
    from masa_node.cli.peers.actions import own_address  # noqa: PLC0415 - as above

    address = asyncio.run(own_address(_masa_dir(_settings())))
    if json:
        print_json({**msgspec.structs.asdict(address), "bootnodes_entry": write_bootnode(address)})
        return
    print(f"id:        {address.node_id}")
    print(f"BOOTNODES: {write_bootnode(address)}")
    if address.direct or address.relay_url:
        _tell_reach(address)
    else:
        _tell(
            "Its addresses are not known yet: it finds out when it is on the network (NETWORK=on). Others may find it"
        )
        _tell("without them on the same LAN (DISCOVER_LAN), or if you write one behind the id: @host:port.")


def _add_change(verb: Verb, about: str) -> None:
    @peers_app.command(verb.value, help=about)
    def change(
        peer: Annotated[str, typer.Argument(help="Its id, the first letters of it (at least 4), or its name.")],
        *,
        json: Json = False,
    ) -> None:
        from masa_node.cli.peers.actions import commanded  # noqa: PLC0415 - as above
        from masa_node.node.owner.peers import change_peer  # noqa: PLC0415

        answer = asyncio.run(change_peer(commanded(_masa_dir(_settings())), verb, peer))
        print_json(answer) if json else print(answer.words)


for _verb, _about in _ABOUT.items():
    _add_change(_verb, _about)


def _settings() -> Settings:
    from masa_node.telemetry import log  # noqa: PLC0415 - takes as long as all else here

    values = read_settings()
    log.configure(values.log_level, values.log_format)
    return values


def _is_off(values: Settings) -> bool:
    """As `StakeSettings.is_off`, from the words alone: whether the profile can be read is the node's to say."""
    return not values.stake_network or values.stake_providers == values.stake_callers == "off"


def _masa_dir(values: Settings) -> Path:
    return Path(values.masa_dir).expanduser()


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text.strip().lower())
    lasts_s = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not MIN_LASTS_S <= lasts_s <= MAX_LASTS_S:
        raise ConfigurationError(f"--expires: {text!r} is not valid. Write 30m, 24h or 7d; a year is the limit.")
    return lasts_s


def _troubles(values: Settings, url: str) -> list[Finding]:
    """Nobody is linked: what the node's doctor says of that. A node that does not answer has been told of above."""
    from masa_node.cli.doctor import fetch_report  # noqa: PLC0415 - as above
    from masa_node.cli.peers.actions import url_of_running_node  # noqa: PLC0415
    from masa_node.cli.troubles import about_network  # noqa: PLC0415

    where = url or asyncio.run(url_of_running_node(_masa_dir(values)))
    if not where:
        return []
    try:
        return about_network(asyncio.run(fetch_report(where, listed(values.api_key), whole=False)))
    except ProviderError:
        return []


def _tell(words: str) -> None:
    print(words, file=sys.stderr)


def _nobody_asked() -> None:
    """RELAY_URL says it."""


def _ask_about_relays() -> bool | None:
    """None where nobody is there to answer: the choice stays open, and what to do is said."""
    question = (
        "Friends outside your network cannot reach this node. Let iroh's public relays help? They see sizes and "
        "addresses of packets, never contents."
    )
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return typer.confirm(question, default=True, err=True)


def _tell_reach(address: PeerAddress, missed_relay: str = "") -> None:
    from masa_node.node.owner.invites import reach_in_words  # noqa: PLC0415 - as above

    for line in reach_in_words(address, missed_relay):
        _tell(line)


def _without_hash(value: msgspec.Struct) -> dict[str, object]:
    return {name: field for name, field in msgspec.structs.asdict(value).items() if name != "token_hash"}
