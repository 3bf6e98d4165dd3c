"""LLM servers behind this node. One file a kind of server; `http` alone touches the network.

Primitives: `poller.ModelPoller` (keeps the lists of models true), `upstream.Upstream` (one server as a `Provider`),
`servers.server.Server` (what is asked of a kind of server), `spec.UpstreamSpec` (how one is described),
`http.client.HttpClient`, `detection` (which kind it is), `local_discovery` (servers on this machine).
"""
