"""What the scripts do with the solutions and the networks: one room per experiment, and what the rooms share."""
