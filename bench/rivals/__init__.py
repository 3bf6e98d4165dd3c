"""Other gateways in the same battery: `make bench RIVALS=1`, or `python -m bench.rivals`.

How each is set up is in `settings/`, which version of what it needs in `locks/`.
"""
