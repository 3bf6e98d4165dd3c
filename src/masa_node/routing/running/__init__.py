"""How work runs on the event loop: in steps, in task groups, on an exact clock, with writes of a turn together."""
