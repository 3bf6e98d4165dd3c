"""What three nodes of a devnet are given before anybody starts them: keys, ports, settings, a delegation, a wallet.

The first asks and has no LLM, the others have the built-in one; the last is not staked.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.devnet.folder import NAMES, DevnetFolder
from masa_node.devnet.keystore import RANDOM_BYTES, keystore
from masa_node.network.store.node_key import load_secret
from masa_node.network.store.store import Store
from masa_node.staking.contract.profile import Profile
from masa_node.staking.delegation import Delegation, Domain, SignedDelegation, digest, encode
from masa_node.staking.ethereum.crypto import SECRET_BYTES, Address, address_of_secret, sign

PASSPHRASE = "devnet"  # noqa: S105 - of throw-away keys, and shown to whoever starts it
DELEGATED_S = 30 * 86_400
LOOPBACK = "127.0.0.1"

_STAKED = frozenset({"a", "b"})
_WITH_LLM = frozenset({"b", "c"})  # what `a` had itself, it would not ask of others


class DevnetNode(msgspec.Struct, frozen=True):
    """One node. `start` is a script: a command given to it (`up`, `stake status`) is about this node.

    `settings` are those that it sets, `masa_dir` is the folder of what the node keeps, `keystore` the owner's key file.
    """

    name: str
    node_id: str
    owner: Address
    is_staked: bool
    has_llm: bool
    url: str
    masa_dir: str
    keystore: str
    start: str
    settings: dict[str, str]


class Person(msgspec.Struct, frozen=True):
    """A node's name and id, and its owner's secret key."""

    name: str
    node_id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Person({self.name})"

    @property
    def owner(self) -> Address:
        """The owner's address."""
        return address_of_secret(self.secret)

    @property
    def is_staked(self) -> bool:
        """Is the owner to have a stake, and the node a delegation?"""
        return self.name in _STAKED


class _Ports(msgspec.Struct, frozen=True):
    """Of the three nodes: UDP for peers, TCP for requests."""

    peers: dict[str, int]
    http: dict[str, int]


def make_people(folder: DevnetFolder) -> list[Person]:
    """Fresh keys, in place of those of the devnet before. Blocking, a tenth of a second. `ConfigurationError`."""
    from masa_node.network.transport.iroh.keys import IrohKeys  # noqa: PLC0415 - 0.1 s, and this is a thread

    folder.clear()
    ids = {name: IrohKeys(load_secret(folder.home(name))).node_id for name in NAMES}
    return [Person(name, node_id, secrets.token_bytes(SECRET_BYTES)) for name, node_id in ids.items()]


async def make_nodes(folder: DevnetFolder, people: Sequence[Person], profile: Profile) -> list[DevnetNode]:
    """Write what each of them needs. Raises `ConfigurationError`."""
    ports = _free_ports()
    nodes = [_node(folder, person, people, ports) for person in people]
    await asyncio.to_thread(_write_files, folder, people, nodes)
    for person in people:
        if person.is_staked:
            await _keep(folder.home(person.name), encode(_delegation(person, profile)))
    return nodes


def _node(folder: DevnetFolder, person: Person, people: Iterable[Person], ports: _Ports) -> DevnetNode:
    name, others = person.name, [other for other in people if other is not person]
    has_llm = name in _WITH_LLM
    return DevnetNode(
        name=name,
        node_id=person.node_id,
        owner=person.owner,
        is_staked=person.is_staked,
        has_llm=has_llm,
        url=f"http://{LOOPBACK}:{ports.http[name]}",
        masa_dir=str(folder.home(name)),
        keystore=str(folder.keystore(name)),
        start=str(folder.start(name)),
        settings={
            "MASA_DIR": str(folder.home(name)),
            "STAKE_NETWORK": str(folder.profile),
            "STAKE_PROVIDERS": "require",
            "STAKE_CALLERS": "require",
            "NETWORK": "on",
            "BOOTNODES": ",".join(f"{other.node_id}@{LOOPBACK}:{ports.peers[other.name]}" for other in others),
            "PEER_HOST": LOOPBACK,
            "PEER_PORT": str(ports.peers[name]),
            "ALLOW_PRIVATE_PEERS": "1",
            "PORT": str(ports.http[name]),
            "FIND_LOCAL": "0",
            "DEMO": "1" if has_llm else "0",
            "NODE_NAME": name,
        },
    )


def _delegation(person: Person, profile: Profile) -> SignedDelegation:
    """From now on; the contract's epochs begin with 0."""
    begins = int(time.time())
    domain = Domain(profile.chain_id, profile.contract)
    key = bytes.fromhex(person.node_id)
    delegation = Delegation(person.owner, key, 0, begins, begins + DELEGATED_S, domain)
    return SignedDelegation(delegation, sign(digest(delegation), person.secret))


async def _keep(masa_dir: Path, delegation: bytes) -> None:
    store = await Store.open(masa_dir)
    try:
        if not (store.is_kept and await store.set_value("delegation", delegation)):
            raise ConfigurationError(f"The delegation could not be written to {masa_dir}. The line above says why.")
    finally:
        await asyncio.shield(store.close())


def _write_files(folder: DevnetFolder, people: Iterable[Person], nodes: Iterable[DevnetNode]) -> None:
    for person, node in zip(people, nodes, strict=True):
        file = keystore(person.secret, person.owner, PASSPHRASE, secrets.token_bytes(RANDOM_BYTES))
        folder.write(folder.keystore(person.name), file)
        folder.write_start(person.name, node.settings)


def _free_ports() -> _Ports:
    """Ports that are free now, chosen in advance so that the nodes can be started in any order.

    Fixed ones would clash with those of another devnet, whose nodes may not have started yet.
    """
    return _Ports(_free(socket.SOCK_DGRAM), _free(socket.SOCK_STREAM))


def _free(kind: socket.SocketKind) -> dict[str, int]:
    """One for each name. Raises `ConfigurationError`."""
    found: dict[str, int] = {}
    with ExitStack() as stack:  # all are held until the last is found
        for name in NAMES:
            sock = stack.enter_context(socket.socket(socket.AF_INET, kind))
            try:
                sock.bind((LOOPBACK, 0))
            except OSError as exc:
                raise ConfigurationError(f"There is no free port on {LOOPBACK}: {exc.strerror or exc}.") from exc
            found[name] = sock.getsockname()[1]
    return found
