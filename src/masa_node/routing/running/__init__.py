"""How work runs on the event loop: in steps, in task groups, with an end where nothing happens, on an exact clock."""
