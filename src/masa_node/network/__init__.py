"""Everything about peers: their keys, how they are reached, what they serve, asking them and serving them.

Primitives: `network.Network`, which wires the inner packages. They know only those below them:

    network                     the whole: links, gossip, adverts and the peer book wired together
    store | gossip | requests   the files; the models of each node; a chat request on its way
    links                       at most one live link with each peer, and the streams on it
    transport                   keys, connections, streams: iroh, or memory
"""
