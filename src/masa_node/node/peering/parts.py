"""What the peers' side of a node is made of."""

from collections.abc import Callable
from dataclasses import dataclass

from masa_node.accounts.under_way import UnderWay
from masa_node.chat.outcome import Outcome
from masa_node.node.no_stakes import StakeRules
from masa_node.node.peering.console_desk import ConsoleDesk
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.peers import PeerSettings
from masa_node.routing.admission import PeerAdmission
from masa_node.routing.catalog import Catalog


@dataclass(frozen=True, slots=True)
class PeerParts:
    """`observe` gets the outcome of each request of a peer, `refused` the code of each that came to no LLM.

    `under_way` has those that are answered now. `instance` is this process' own random name, `url` is where the node
    serves HTTP, which is noted in MASA_DIR, and `console` answers commands about the console.
    """

    settings: Settings
    peer_settings: PeerSettings
    catalog: Catalog
    admission: PeerAdmission
    stakes: StakeRules
    observe: Callable[[Outcome], None]
    refused: Callable[[str], None]
    instance: str
    url: str
    console: ConsoleDesk
    under_way: UnderWay
