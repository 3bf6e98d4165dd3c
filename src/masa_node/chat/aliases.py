"""Other names for models, as the owner wrote them in masa.toml: which name stands for which models. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.chat.offer import same_model_key

ANYTHING = "*"
MAX_CHAIN = 16  # aliases of aliases; nobody could follow more

Targets = tuple[str, ...]


class Aliases(msgspec.Struct, frozen=True):
    """`exact` are aliases by the key of their name, each with the models that it stands for, best first; `patterns`
    those with a `*`, the longest first.
    """

    exact: dict[str, Targets] = {}
    patterns: tuple[tuple[str, Targets], ...] = ()

    def targets_of(self, model: str) -> Targets:
        """The models that this name stands for, best first; none where it is no alias."""
        key = same_model_key(model)
        exact = self.exact.get(key)
        if exact is not None:
            return exact
        return next((found for each, found in self.patterns if _fits(each, model) or _fits(each, key)), ())

    @property
    def names(self) -> tuple[str, ...]:
        """The names without a `*`, as they were written."""
        return tuple(self.exact)


NO_ALIASES = Aliases()


def read_aliases(table: Mapping[str, Sequence[str]]) -> Aliases:
    """The aliases of this table, those of aliases followed to their ends. Raises `ConfigurationError` for a loop.

    Only names without a `*` are followed: `"gpt-4*" = "gpt-4o"` is no loop.
    """
    plain: dict[str, Sequence[str]] = {}
    for name, models in table.items():
        if ANYTHING not in name:
            if same_model_key(name) in plain:
                raise ConfigurationError(f"the alias {name!r} is there twice: with and without `:latest`. Keep one.")
            plain[same_model_key(name)] = models
    exact = {name: _followed(models, plain, (name,)) for name, models in plain.items()}
    wild = [(name, _followed(models, plain, ())) for name, models in table.items() if ANYTHING in name]
    return Aliases(exact, tuple(sorted(wild, key=lambda each: -len(each[0]))))


def _followed(models: Sequence[str], plain: Mapping[str, Sequence[str]], way: tuple[str, ...]) -> Targets:
    """The models at the ends of these names, each once. `way` are the aliases that led here."""
    ends: dict[str, None] = {}
    for model in models:
        key = same_model_key(model)
        if key in way:
            loop = " > ".join((*way[way.index(key) :], key))
            raise ConfigurationError(f"the aliases lead in a circle: {loop}. Let one of them name a model.")
        if len(way) >= MAX_CHAIN:
            raise ConfigurationError(f"more than {MAX_CHAIN} aliases lead to each other, from {way[0]!r} on.")
        if key in plain:
            ends.update(dict.fromkeys(_followed(plain[key], plain, (*way, key))))
        else:
            ends[model] = None
    return tuple(ends)


def _fits(pattern: str, name: str) -> bool:
    """Is this such a name? In time that grows with its length alone, whatever a caller sends."""
    first, *middle, last = pattern.split(ANYTHING)
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
