"""Trial tools: a local chain and three nodes with stakes, and the demo of three nodes that race.

Primitives: `run.run_devnet` (over `anvil.Anvil`, `deployment.deploy`, `folder.DevnetFolder`), `demo.run_demo`.
"""
