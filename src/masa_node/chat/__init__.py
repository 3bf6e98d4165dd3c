"""Frozen values of one chat request and the error tree; imports nothing of the other packages.

Primitives: `request.Request` (what is asked), `answer.Answer` (what comes back), `offer.ModelOffer` (what can be
asked), `outcome.Outcome` (how it ended), `errors.MasaError` and its tree.
"""
