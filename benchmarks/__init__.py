"""The benchmark: four layouts of one node's Services side by side, and the agent as its users run it (`make bench`)."""
