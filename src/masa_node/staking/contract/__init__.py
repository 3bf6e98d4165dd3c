"""The staking contract, and `token.vy`, a stand-in for the staked token on local chains.

Beside each `.vy` is the `.json` that it compiles to (`python -m tools.compile_contracts`), so that nobody needs a
compiler to deploy it.

Primitives: `profile.Profile` (which chain and contract), `account` (what the chain holds of an owner), `calls` (what a
deposit is made of), `transactions` (estimated, sent, waited for), `wallet`, `reverts` (reasons in words), `artifacts`.
"""
