"""What `masa-node doctor` and `GET /api/v1/doctor` find out: why this node does not do what its owner expects.

Primitives: `facts` (what was gathered; frozen), `findings` (a line of the report), `own_checks` and `network_checks`
(from facts to findings; pure), `report` (all of them), `gather` (looks at folder, ports, LLM servers and relay).
`at_rest` does so while no node runs.
"""
