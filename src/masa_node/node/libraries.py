"""Which releases of a library work, where it is patched or safety rests on it: others may start and answer wrongly.

`pyproject.toml` gives the same bounds; an installer that does not look at them gets one sentence instead of riddles.
"""

import re
import sys
from pathlib import Path

import msgspec

from masa_node.chat.errors import ConfigurationError


class Bounds(msgspec.Struct, frozen=True):
    """Releases from `lowest` on and below `beyond` work."""

    library: str
    lowest: tuple[int, ...]
    beyond: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.library}>={_dotted(self.lowest)},<{_dotted(self.beyond)}"

    def admit(self, version: str) -> bool:
        """Is this release (PEP 440) within them? A pre-release of `beyond` is not."""
        release = tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])
        return self.lowest <= release < self.beyond


# httptools decides where a request ends; what it takes for one was tried with these (`tests/security`).
BOUNDS = (Bounds("httptools", (0, 7), (0, 10)), Bounds("iroh", (1, 2), (1, 3)))


def check_libraries() -> None:
    """Raise `ConfigurationError` if a library is installed in a release that does not work with this program."""
    for bounds in BOUNDS:
        version = _installed(bounds.library)
        if not bounds.admit(version):
            raise ConfigurationError(
                f"{bounds.library} {version} is installed, and this release of Masa Node works with others. "
                f"Install one of them: python -m pip install '{bounds}'."
            )


def _installed(library: str) -> str:
    """Its release, by the name of its metadata: what reads that would take 1.4 MB for as long as a node runs."""
    for folder in sys.path:
        for found in Path(folder).glob(f"{library}-*.dist-info"):
            return found.name.removesuffix(".dist-info").partition("-")[2]
    from importlib import metadata  # noqa: PLC0415 - knows of the other ways to install a library

    return metadata.version(library)


def _dotted(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))
