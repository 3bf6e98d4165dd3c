"""Frozen values of one chat request and the error tree; imports nothing of the other rooms.

Import from the modules: `request`, `answer`, `offer`, `outcome`, `errors`.
"""
