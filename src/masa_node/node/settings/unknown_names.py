"""Names in `.env` and the environment that look like settings and are none: a misspelt one would be ignored in silence.

Most names there belong to other programs; those are left alone. Pure.
"""

import difflib
from collections.abc import Iterable, Mapping

import msgspec

# In `.env` what begins so is meant for this program; in the environment only what is nearly a setting's name.
_OURS = ("MASA_", "LLM_", "PEER_", "STAKE_", "RACE_", "RELAY_", "DEMO_", "ALLOWED_", "ALLOW_", "MAX_")
_CLOSE_IN_FILE = 0.75  # SequenceMatcher's ratio: one letter of four may be wrong
_CLOSE_AS_KEY = 0.6  # of a short key in masa.toml, which is an error in any case
_CLOSE_IN_ENVIRONMENT = 0.88  # one letter of eight
_LEAST_CHARS = 6  # shorter names of the environment are near each other by chance
MAX_TOLD = 16
# Names of other programs that are near to ours, and not misspelt.
_OTHERS = frozenset(
    {
        *("HOSTNAME", "MASA_REAL_REQUIRED", "MASA_NODE", "OPENAI_API_BASE", "OLLAMA_HOST", "NODE_ENV"),
        *("FTP_PROXY", "RSYNC_PROXY", "SOCKS_PROXY", "GRPC_PROXY", "WS_PROXY", "WSS_PROXY"),
    }
)


class UnknownName(msgspec.Struct, frozen=True):
    """A name that is no setting's, and the nearest that is; "" if none is near."""

    name: str
    location: str
    nearest: str


def unknown_names(
    known: Iterable[str],
    in_file: Mapping[str, str],
    location: str,
    environ: Mapping[str, str],
    used: Iterable[str] = (),
) -> list[UnknownName]:
    """At most MAX_TOLD of them. `used` are names that the settings themselves refer to (`key_env`)."""
    settings = list(known)
    fine = {*settings, *used, *_OTHERS}
    fine |= {name.lower() for name in fine if name.endswith("_PROXY")}  # these are usual in both cases
    found = [
        UnknownName(name, location, _nearest(name, settings, _CLOSE_IN_FILE))
        for name in in_file
        if name not in fine and (name.startswith(_OURS) or _nearest(name, settings, _CLOSE_IN_FILE))
    ]
    found += [
        UnknownName(name, "the environment", nearest)
        for name in environ
        if name not in fine
        and name not in in_file
        and len(name) >= _LEAST_CHARS
        and (nearest := _nearest(name, settings, _CLOSE_IN_ENVIRONMENT))
    ]
    return found[:MAX_TOLD]


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The name that was probably meant; "" if none is near."""
    return _nearest(name, list(known), _CLOSE_AS_KEY)


def _nearest(name: str, known: list[str], close: float) -> str:
    by_upper = {each.upper(): each for each in known}
    near = difflib.get_close_matches(name[:64].upper(), by_upper, n=1, cutoff=close)
    return by_upper[near[0]] if near else ""
