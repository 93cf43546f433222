"""The speed claims of the README as commands: ours against the loop a competent student would write, in one run."""
