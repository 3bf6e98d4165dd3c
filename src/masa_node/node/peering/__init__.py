"""The peers' side of a node: it comes up once there is anybody to be connected with, and never keeps the node from
serving.

Primitives: `service.PeerService` (there from the start, in one of the states of `state`), `network.PeerNetwork` (brings
the network up and carries out the owner's commands), `wiring.make_network` (puts the network together, on whatever
transport), `own_folder.OwnFolder` (MASA_DIR while it is held), `parts` (what it needs of the node).
"""
