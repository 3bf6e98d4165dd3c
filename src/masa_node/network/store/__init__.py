"""What a node keeps of its network between two runs, in MASA_DIR.

Primitives: `store.Store` over `storage`'s `Database`, `node_key.load_secret`, `commands` (what the owner wants of a
running node).
"""
