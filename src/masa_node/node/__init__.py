"""The composition root: settings in, a running node out. The only package that knows every other one.

Primitives: `node.Node` (all parts, wired), `serve.serve` (starts and ends one), `run.run` (the same for a process of
its own), `peer_service.PeerService` (the peers' side), `stake_policy.StakePolicy` (which peers may ask and serve),
`settings`, `views` (what status pages tell).
"""
