"""One line of the table of benchmarks: the seconds that something else took and that we took, turn by turn."""

import statistics
from typing import NamedTuple


class Comparison(NamedTuple):
    """Ours against something else. theirs, ours: seconds, one of each for a turn, measured right after one another."""

    what: str
    against: str
    theirs: list[float]
    ours: list[float]

    def row(self) -> str:
        """The line in Markdown: medians, and the median of the turns' ratios, which a drifting machine hardly moves."""
        ratio = statistics.median(theirs / ours for theirs, ours in zip(self.theirs, self.ours, strict=True))
        theirs, ours = (duration(statistics.median(times)) for times in (self.theirs, self.ours))
        return f"| {self.what} | {self.against} | {theirs} | {ours} | {ratio:.2f} |"


def duration(seconds: float) -> str:
    """Three digits of it: in ms below 1 s, in minutes from 10 minutes on."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 60:.3g} min"
