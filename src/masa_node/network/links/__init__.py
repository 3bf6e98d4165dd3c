"""Links with peers: one each, who is let in, and many streams on it.

Primitives: `links.Links` (takes and makes links), `session.Session` (one link in use), `mux` (many streams on few of
the transport's), `frames` (the wire format), `membership.Membership` (who is let in), `peer_book.PeerBook` (who is
known, whom to dial), `vouchers` and `invites` (why somebody is let in), `token_bucket` (how much at once).
"""
