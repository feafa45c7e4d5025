"""A dress rehearsal of the paper's two runs against a hub on this machine: `make rehearsal DATA=DIR`."""
