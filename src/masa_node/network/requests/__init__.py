"""Chat requests between two nodes, each on a stream of its own.

Primitives of the side that asks: `remote_peer.RemotePeer` (a peer as a `Provider`), `response_reader`. Of the side that
serves: `server.PeerServer`, `request_reader`, `response_writer`, `quotas`, `sharing` (which models), `body_check`.
Of both: `frames` (the payloads) and `errors` (failures on their way).
"""
