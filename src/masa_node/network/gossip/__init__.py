"""Which node serves what: signed adverts, spread over the links.

Primitives: `gossip.Gossip` (the protocol, sans-IO), `adverts.Advert`, `own_advert.Advertiser` (this node's own),
`advert_set.AdvertSet` (what is known, bounded), `outbox.Outbox` (what one peer is told, and when), `messages`.
"""
