"""Whether an embedded LLM works: its slots tell, while an answer in one piece says nothing until all of it is made."""

import asyncio

import msgspec

from masa_node.chat.errors import ProviderError
from masa_node.dialects.fields import read
from masa_node.routing.answers.reader import read_whole
from masa_node.routing.provider import Sign
from masa_node.upstreams.http.client import HttpClient

LOOK_EVERY_S = 5.0
MAX_SLOTS_BYTES = 1024 * 1024  # of each slot with its parameters it is some kilobytes


class _Slot(msgspec.Struct):
    is_processing: bool = False


_SLOTS = msgspec.json.Decoder(list[_Slot])


class Work:
    """What the slots of llama.cpp's server at `url` say, looked at for all requests together."""

    def __init__(self, http: HttpClient, url: str, key: str) -> None:
        self._http = http
        self._url = f"{url}/slots"
        self._headers = (("Authorization", f"Bearer {key}"),)
        self._looking = asyncio.Lock()
        self._looked_at_s = float("-inf")
        self._is_under_way = False

    async def show(self, sign: Sign, deadline_s: float) -> None:
        """Call `sign` again and again while the LLM works, for the first time well before `deadline_s` of the loop's
        clock. Until cancelled.
        """
        loop = asyncio.get_running_loop()
        pause_s = max(0.0, min(LOOK_EVERY_S, (deadline_s - loop.time()) / 2))
        while True:
            await asyncio.sleep(pause_s)
            if await self._is_seen(loop.time()):
                sign()
            pause_s = LOOK_EVERY_S

    async def _is_seen(self, now_s: float) -> bool:
        """Does it work now, or when others looked since? False where it does not tell."""
        async with self._looking:
            if self._looked_at_s < now_s:
                self._is_under_way = await self._look()
                self._looked_at_s = asyncio.get_running_loop().time()
            return self._is_under_way

    async def _look(self) -> bool:
        try:
            answer = await self._http.get(self._url, self._headers)
            slots = read(await read_whole(answer, MAX_SLOTS_BYTES), _SLOTS)
        except ProviderError:
            return False
        return any(slot.is_processing for slot in slots or ())
