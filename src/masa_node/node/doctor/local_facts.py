"""Facts about this machine: settings, MASA_DIR, the HTTP port. Blocking file work: call it in a thread."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from masa_node.chat.errors import ConfigurationError
from masa_node.network.store.node_key import KEY_FILE, load_secret
from masa_node.network.transport.bind import free_port
from masa_node.node.callers import guard_rules
from masa_node.node.doctor.facts import FolderFacts, HttpFacts, SettingsFacts
from masa_node.node.proxies import check_proxies, read_proxies
from masa_node.node.server import address_of, bind
from masa_node.node.settings.config_file import aliases_in_file, key_variables
from masa_node.node.settings.environment import Settings, unknown_settings
from masa_node.node.settings.peers import read_peer_settings
from masa_node.node.settings.stake import read_stake_settings
from masa_node.node.settings.upstreams import upstream_specs

_WITHOUT_PORT = frozenset({"off", "not running"})  # states in which a node holds no UDP port itself
_CHECKS: tuple[Callable[[Settings], object], ...] = (
    upstream_specs,
    aliases_in_file,
    guard_rules,
    read_peer_settings,
    read_stake_settings,
    lambda settings: check_proxies(read_proxies(settings), settings, upstream_specs(settings)),
)


def settings_facts(settings: Settings) -> SettingsFacts:
    """What would stop the start, and names that mean nothing."""
    errors: dict[str, None] = {}  # each once: some checks begin with the same
    for check in _CHECKS:
        try:
            check(settings)
        except ConfigurationError as exc:
            errors[exc.message] = None
    try:
        unknown = tuple(unknown_settings(used=key_variables(settings)))
    except ConfigurationError as exc:
        return SettingsFacts((*dict.fromkeys((*errors, exc.message)),))
    return SettingsFacts(tuple(errors), unknown)


def folder_facts(masa_dir: Path) -> FolderFacts:
    """MASA_DIR as it is; nothing is made, but for a file that is gone at once."""
    path = str(masa_dir.absolute())
    existing = next(each for each in (masa_dir, *masa_dir.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        free_bytes = shutil.disk_usage(existing).free
    except OSError as exc:
        return FolderFacts(path, f"{exc.strerror or exc}.")
    if existing != masa_dir:
        return FolderFacts(path, free_bytes=free_bytes)
    mode = stat.S_IMODE(masa_dir.stat().st_mode) if os.name != "nt" else None
    return FolderFacts(path, mode=mode, free_bytes=free_bytes, key_error=_key_error(masa_dir))


def http_facts(settings: Settings) -> HttpFacts:
    """Of a node that does not run: could it listen?"""
    try:
        sock = bind(settings)
    except ConfigurationError as exc:
        return HttpFacts(f"http://{settings.host}:{settings.port}", error=exc.message)
    with sock:
        return HttpFacts(address_of(sock))


def udp_error(settings: Settings, state: str) -> str:
    """Of a node that is on no network now, but may be: could it have the UDP port that it is to have?"""
    if state not in _WITHOUT_PORT or settings.network == "off" or not settings.peer_port:
        return ""
    try:
        ip = ip_address(settings.peer_host.strip("[]"))
    except ValueError:  # told with the settings
        return ""
    if free_port(ip, settings.peer_port) is not None:
        return ""
    return f"UDP port {settings.peer_port} of {settings.peer_host} (PEER_PORT) is taken, or not one of this machine's."


def _key_error(masa_dir: Path) -> str:
    if not os.path.lexists(masa_dir / KEY_FILE):
        return ""
    try:
        load_secret(masa_dir)
    except ConfigurationError as exc:
        return exc.message
    return ""
