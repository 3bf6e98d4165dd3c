"""Links with peers: one each, which peers are let in, and many streams on a link.

Primitives: `links.Links` (takes and makes links), `session.Session` (one link in use), `mux` (many streams on few of
the transport's), `frames` (the wire format), `membership.Membership` (decides which peers are let in),
`peer_book.PeerBook` (the known peers, and which to dial), `vouchers` and `invites` (grounds for letting a peer in),
`token_bucket` (how much at once).
"""
