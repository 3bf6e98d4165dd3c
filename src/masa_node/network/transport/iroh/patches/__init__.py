"""Guarded fixes of iroh's generated Python code. Each changes nothing when that code is not as expected.

Primitives: `byte_copy.copy_in_blocks`, `wake_ups.settle_directly`, `release.release_on_loop`.
"""
