"""How work runs on the event loop: in steps, in task groups, on an exact clock, in bounded turns."""
