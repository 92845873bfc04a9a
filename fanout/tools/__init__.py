"""Programs around the server: the simulated upstream, load, experiments."""
