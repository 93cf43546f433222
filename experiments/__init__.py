"""The three experiments, a folder for each question, and the harness that they share: see README.md."""

EVALUATION_SEED = 2**31  # of the noise that evaluation draws: the same for every run, and no seed that a run can have
