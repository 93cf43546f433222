"""The options that the command and `pytest tests/graded` share."""

SECONDS = {"metavar": "SECONDS", "type": float}
OPTIONS = {
    "--questions": {"metavar": "LIST", "default": "1,2", "help": "grade these alone, as in 1,2.4 (default 1,2)"},
    "--time-limit": {**SECONDS, "default": 10.0, "help": "for each call (default 10)"},
    "--total-limit": {**SECONDS, "default": 120.0, "help": "for all of a submission (default 120)"},
    "--seed": {"metavar": "N", "type": int, "help": "draw the inputs of an earlier grading again"},
}


def limits_of(options):
    """The limits and the seed, or ValueError where they cannot be."""
    for name in ("time_limit", "total_limit", "jobs"):
        if not getattr(options, name, 1) > 0:
            raise ValueError(f"--{name.replace('_', '-')}: must be above 0")
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise ValueError("--seed: must be between 0 and 2^63")
    return {"time_limit": options.time_limit, "total_limit": options.total_limit, "seed": options.seed}
