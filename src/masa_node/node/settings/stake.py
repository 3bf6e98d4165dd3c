"""The settings about stake, read and checked before anything starts.

With staking off nothing of that package is imported.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.network.transport.interfaces import NodeId, is_node_id
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.words import listed

if TYPE_CHECKING:
    from masa_node.staking.contract.profile import Profile


class StakeMode(StrEnum):
    """What follows from a stake, or from having none."""

    OFF = "off"
    PREFER = "prefer"
    REQUIRE = "require"


class StakeSettings(msgspec.Struct, frozen=True):
    """What STAKE_NETWORK, STAKE_PROVIDERS, STAKE_CALLERS and STAKE_ALLOW mean.

    `profile` None: stakes are not checked.
    """

    profile: "Profile | None"
    providers: StakeMode
    callers: StakeMode
    allowed: frozenset[NodeId]

    @property
    def is_off(self) -> bool:
        """Are stakes not checked at all?"""
        return self.profile is None or (self.providers is StakeMode.OFF and self.callers is StakeMode.OFF)


def read_stake_settings(settings: Settings) -> StakeSettings:
    """Raises `ConfigurationError` naming the setting and what it may be."""
    allowed = frozenset(_node_id(text) for text in listed(settings.stake_allow))
    if not settings.stake_network:
        _check_off(settings)
        return StakeSettings(None, StakeMode.OFF, StakeMode.OFF, allowed)
    from masa_node.staking.contract.profile import load_profile, with_overrides  # noqa: PLC0415 - only where stakes are checked

    profile = load_profile(settings.stake_network, Path(settings.masa_dir).expanduser())
    profile = with_overrides(profile, listed(settings.rpc_url), settings.stake_contract)
    return StakeSettings(
        profile,
        StakeMode(settings.stake_providers or StakeMode.PREFER),
        StakeMode(settings.stake_callers or StakeMode.PREFER),
        allowed,
    )


def _check_off(settings: Settings) -> None:
    for name, word in (("STAKE_PROVIDERS", settings.stake_providers), ("STAKE_CALLERS", settings.stake_callers)):
        if word not in ("", StakeMode.OFF):
            raise ConfigurationError(
                f"{name}={word} needs a chain to look at: set STAKE_NETWORK to a network profile "
                "(`masa-node devnet` makes one to try), or leave it out."
            )
    if settings.stake_allow:
        raise ConfigurationError(
            "STAKE_ALLOW lists nodes that count as staked, but stakes are not checked: set STAKE_NETWORK, or leave it "
            "out."
        )


def _node_id(text: str) -> NodeId:
    if not is_node_id(text.lower()):
        raise ConfigurationError(f"STAKE_ALLOW: {text!r} is not a node id. `masa-node peers --json` shows them whole.")
    return NodeId(text.lower())
