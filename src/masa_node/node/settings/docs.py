"""The settings as documentation and `masa-node settings` show them."""

from typing import get_args, get_type_hints

import msgspec

from masa_node.node.settings.environment import SECRETS, Settings
from masa_node.node.settings.words import words_of


class SettingDoc(msgspec.Struct, frozen=True):
    """One setting, for documentation and `masa-node settings`."""

    name: str
    kind: str
    default: str
    about: str
    is_secret: bool


def setting_docs() -> list[SettingDoc]:
    """Every setting, in the order in which they are described."""
    hints = get_type_hints(Settings, include_extras=True)
    docs: list[SettingDoc] = []
    for field in msgspec.structs.fields(Settings):
        if field.name == "port_is_set":
            continue
        kind, meta = get_args(hints[field.name])
        words = " \\| ".join(words_of(kind)) or kind.__name__
        default = "" if field.default == "" else str(field.default).lower() if kind is bool else str(field.default)
        docs.append(SettingDoc(field.name.upper(), words, default, meta.description, field.name in SECRETS))
    return docs
