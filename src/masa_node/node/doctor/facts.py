"""What the doctor has gathered before it judges. Frozen values without secrets; None and "" mean: not known."""

import msgspec

from masa_node.network.transport.interfaces import PeerAddress
from masa_node.node.settings.unknown_names import UnknownName


class SettingsFacts(msgspec.Struct, frozen=True):
    """`errors`: what is wrong with settings and masa.toml, in words; `unknown`: the names that mean nothing."""

    errors: tuple[str, ...] = ()
    unknown: tuple[UnknownName, ...] = ()


class FolderFacts(msgspec.Struct, frozen=True):
    """MASA_DIR. `error` says why it cannot be written; `key_error` why the key in it cannot be used.

    `mode` are its permission bits. `free_bytes` is the space left on its disk.
    """

    path: str
    error: str = ""
    mode: int | None = None
    free_bytes: int | None = None
    key_error: str = ""


class HttpFacts(msgspec.Struct, frozen=True):
    """Where the node serves, or would. `is_running`: a node holds this MASA_DIR; `answers`: what is there is that node.

    `error` says why the port cannot be had, or why the running node does not answer; `fix` what to do, if it is known.
    """

    url: str
    is_running: bool = False
    answers: bool = False
    error: str = ""
    fix: str = ""


class ServerFacts(msgspec.Struct, frozen=True):
    """One LLM server. `models` None: it has no list. `code` and `why` say why it cannot be asked.

    `token_from` is the model that gave a token, "" if none did; `token_why` says why none did. `is_hosted` ones are not
    made to answer: their owner would pay for it. `is_embedded`: a process of the node's own.
    """

    name: str
    location: str
    models: int | None = None
    code: str = ""
    why: str = ""
    note: str = ""
    is_hosted: bool = False
    is_embedded: bool = False
    token_from: str = ""
    token_code: str = ""
    token_why: str = ""


class LlmFacts(msgspec.Struct, frozen=True):
    """All LLM servers, whether servers on this machine are looked for, and the URL of OLLAMA_HOST ("": not set).

    `is_unknown`: the settings cannot be read, so nobody was asked.
    """

    servers: tuple[ServerFacts, ...] = ()
    finds_local: bool = True
    ollama: str = ""
    is_unknown: bool = False


class ClockFacts(msgspec.Struct, frozen=True):
    """How far this machine's clock is ahead (seconds, negative: behind) of those of others: (who, seconds)."""

    ahead_of: tuple[tuple[str, float], ...] = ()


class RelayFacts(msgspec.Struct, frozen=True):
    """The relay. `url` "": none is set. `code` is that of the error by which it was not reached.

    `status` is its answer to a ping, `is_page`: with a web page, which no relay gives. `is_home`: this node is
    connected to it now; None while no network runs.
    """

    url: str = ""
    code: str = ""
    why: str = ""
    status: int | None = None
    is_page: bool = False
    is_home: bool | None = None


class WayInFacts(msgspec.Struct, frozen=True):
    """How packets come in. `bound` are the sockets (`ip:port`), `address` what others are told.

    `own_ips` are those addresses in `address` whose IP is one of this machine's. `is_mapped`: the router forwards a
    port to this node, which it asked for. `external` is PEER_ADDRESS. `bind_error` says why the UDP port cannot be had.
    """

    bound: tuple[str, ...] = ()
    address: PeerAddress | None = None
    own_ips: frozenset[str] = frozenset()
    is_mapped: bool = False
    external: str = ""
    bind_error: str = ""


class PeerFacts(msgspec.Struct, frozen=True):
    """One known peer. `code` and `why` tell why it is not linked; `next_try_s` is how long until it is dialed again."""

    id: str
    name: str = ""
    membership: str = ""
    is_linked: bool = False
    route: str = ""
    code: str = ""
    why: str = ""
    failures: int = 0
    next_try_s: float | None = None
    last_linked_s_ago: float | None = None


class NetworkFacts(msgspec.Struct, frozen=True):
    """The peers' side. `state` is `on`, `off` (with `why`), `starting`, or `not running`.

    `refused_join` is what became of the last `masa-node join`, if that was refused.
    """

    state: str = "not running"
    why: str = ""
    way_in: WayInFacts = WayInFacts()
    peers: tuple[PeerFacts, ...] = ()
    refused_join: str = ""


class ChainFacts(msgspec.Struct, frozen=True):
    """Stakes: one line, and the last failure to read the chain with its age."""

    staking: str = ""
    is_off: bool = True
    failure: str = ""
    failed_s_ago: int | None = None


class Facts(msgspec.Struct, frozen=True):
    """All of it."""

    version: str
    settings: SettingsFacts
    folder: FolderFacts
    http: HttpFacts
    llm: LlmFacts = LlmFacts()
    clock: ClockFacts = ClockFacts()
    relay: RelayFacts = RelayFacts()
    network: NetworkFacts = NetworkFacts()
    chain: ChainFacts = ChainFacts()
