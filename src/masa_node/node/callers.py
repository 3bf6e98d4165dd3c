"""By the settings: which callers are let in, and how much their bodies may take."""

import ipaddress

from masa_node.api.guard import GuardRules
from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.words import listed
from masa_node.routing.answers.byte_budget import OVERHEAD_BYTES


def bodies_bytes(settings: Settings) -> int:
    """How many bytes all bodies may take together: room for one of MAX_BODY at least."""
    return max(settings.max_bodies_total, settings.max_body + OVERHEAD_BYTES)


def guard_rules(settings: Settings, *, has_named_keys: bool = False) -> GuardRules:
    """Which requests are let in. Raises `ConfigurationError` for a bind that strangers can reach without a key."""
    keys = listed(settings.api_key)
    if not _is_loopback(settings.host) and not keys and not has_named_keys:
        raise ConfigurationError(
            f"HOST={settings.host} can be reached by others, and API_KEY is not set. "
            "Set API_KEY to one or more keys (comma-separated), make one with `masa-node keys add NAME`, or set "
            "HOST=127.0.0.1."
        )
    return GuardRules(keys, listed(settings.allowed_hosts), listed(settings.allowed_origins))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
