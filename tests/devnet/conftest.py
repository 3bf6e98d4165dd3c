"""The fixture `chain` for every test here."""

from tests.staking.anvil_chain import anvil_program, chain

__all__ = ["anvil_program", "chain"]
