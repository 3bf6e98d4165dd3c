"""From a response to an `Answer`: read as frames, as a whole or as a sound, within bounds on all that is in memory."""
