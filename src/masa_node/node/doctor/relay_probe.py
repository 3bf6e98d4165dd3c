"""Is there a relay at this URL? A ping over HTTP finds out about DNS, TLS, the token and the clock."""

import asyncio
import email.utils
import time

import msgspec

from masa_node.chat.errors import ConfigurationError, ProviderError, Unreachable
from masa_node.network.transport.addresses import PUBLIC_RELAYS, is_relay_url
from masa_node.node.doctor.facts import RelayFacts
from masa_node.upstreams.http.client import HttpClient

PING_PATH = "ping"  # what an iroh relay answers with 200 and nothing
PING_WITHIN_S = 6.0  # a name that is looked up, a connection, TLS


class Ping(msgspec.Struct, frozen=True):
    """`ahead_s`: how far this machine's clock is ahead of the relay's; None where it does not tell the time."""

    relay: RelayFacts
    ahead_s: float | None = None


async def ping(url: str, http: HttpClient, *, is_home: bool | None) -> Ping:
    """Ask the relay, or one of iroh's makers' for `public`. `is_home`: is the node connected to it?"""
    facts = RelayFacts(url, is_home=is_home)
    if not url:
        return Ping(facts)
    if url != PUBLIC_RELAYS and not is_relay_url(url):  # told with the settings
        return Ping(msgspec.structs.replace(facts, code=ConfigurationError.code))
    try:
        async with asyncio.timeout(PING_WITHIN_S):
            where = await asyncio.to_thread(_one_public) if url == PUBLIC_RELAYS else url
            answer = await http.get(f"{where.rstrip('/')}/{PING_PATH}", ())
            answer.close()
    except TimeoutError:
        late = msgspec.structs.replace(facts, code=Unreachable.code, why=f"no answer within {PING_WITHIN_S:g} s.")
        return Ping(late)
    except ProviderError as exc:
        return Ping(msgspec.structs.replace(facts, code=exc.code, why=_without_advice(exc.message)))
    is_page = (answer.header("content-type") or "").startswith("text/html")
    found = msgspec.structs.replace(facts, status=answer.status, is_page=is_page)
    return Ping(found, None if is_page else _ahead_s(answer.header("date"), time.time()))


def _without_advice(message: str) -> str:
    """What happened. What the rest advises is meant for an LLM server."""
    return message.partition(". ")[0].rstrip(".") + "."


def _ahead_s(date: str | None, at_unix_s: float) -> float | None:
    """Dates are cut to whole seconds: half of one is added."""
    if date is None:
        return None
    try:
        return at_unix_s - email.utils.parsedate_to_datetime(date).timestamp() - 0.5
    except ValueError:
        return None


def _one_public() -> str:
    """Loads iroh, which takes a tenth of a second."""
    from masa_node.network.transport.iroh.relays import public_relays  # noqa: PLC0415

    return public_relays()[0].replace("./", "/")
