"""Is anybody there? Asked of a relay once a second while it is away: by a TCP connection, and nothing is said."""

import asyncio
import socket
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

ANSWERS_WITHIN_S = 0.5  # a name and a connection; a relay that takes longer is found by the next look at its name
LOOK_UP_EVERY_S = 10.0  # a look-up that hangs keeps a thread for about as long, and there are few
_PORTS = {"http": 80, "https": 443}


class _Found(NamedTuple):
    hosts: tuple[str, ...]
    until_s: float


class Presence:
    """Of the relays of one endpoint. A name is looked up now and then; between, what it led to last is asked."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], _Found] = {}

    async def answers(self, url: str) -> bool:
        """Does anybody take a TCP connection there now? Takes ANSWERS_WITHIN_S at most."""
        with suppress(OSError, TimeoutError, ValueError):
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, _PORTS["https"])
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                for host in await self._hosts(parts.hostname or "", port):
                    with suppress(OSError):
                        _, writer = await asyncio.open_connection(host, port)
                        writer.close()
                        return True
        return False

    async def _hosts(self, name: str, port: int) -> tuple[str, ...]:
        """IP addresses; of a name that is not found now, those of the last time."""
        loop = asyncio.get_running_loop()
        found = self._found.get((name, port), _Found((), float("-inf")))
        if loop.time() < found.until_s:
            return found.hosts
        self._found[(name, port)] = _Found(found.hosts, loop.time() + LOOK_UP_EVERY_S)
        with suppress(OSError, UnicodeError):
            rows = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            hosts = tuple(dict.fromkeys(str(row[4][0]) for row in rows))
            self._found[(name, port)] = _Found(hosts, loop.time() + LOOK_UP_EVERY_S)
            return hosts
        return found.hosts
