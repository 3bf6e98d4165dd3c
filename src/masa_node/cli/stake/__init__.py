"""The commands about this node's stake: `commands` declares them, `context` holds what they work with."""
