"""The speed claims of the README as one command: ours against what else one might run, in turns, in one run."""
