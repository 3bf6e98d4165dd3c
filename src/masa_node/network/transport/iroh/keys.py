"""A node's key pair in iroh's hands: signing, and checking what other nodes signed."""

import os

import iroh

from masa_node.network.transport.interfaces import NodeId, is_node_id

# With RUST_BACKTRACE set, each wrong signature that a stranger sends would cost 70 ms instead of 0.2.
os.environ.setdefault("RUST_LIB_BACKTRACE", "0")

FOREIGN = (iroh.IrohError, iroh.InternalError)  # what iroh raises; the second is a panic in Rust


class IrohKeys:
    """The node's key pair in iroh's hands; `node_id` is the public key."""

    def __init__(self, secret: bytes) -> None:
        self._secret = iroh.SecretKey.from_bytes(secret)
        self.node_id = NodeId(str(self._secret.public()))

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._secret.sign(message).to_bytes()

    def verify(self, node_id: NodeId, message: bytes, signature: bytes) -> bool:
        """Did this node sign the message? False for anything malformed, and for a NodeId in another spelling."""
        if not is_node_id(node_id):
            return False
        try:
            iroh.EndpointId.from_string(node_id).verify(message, iroh.Signature.from_bytes(signature))
        except FOREIGN:
            return False
        return True
