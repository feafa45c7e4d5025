"""The front door: a run of one's own in three commands, `fute new`, `fute run` and `fute rank`."""
