"""`python -m tools.records RUNS`: renew what is committed of measured results, from the finished runs in RUNS.

RUNS holds a run directory for each run and seed of `COMMANDS`, such as RUNS/q1-tuned-0. Renewed are figures/,
figures/reference.json (metrics.json of each run) and the numbers of README.md and REPORT.md that `sentences` quotes.
"""

import argparse
import json
import re
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.divergences.train import PRESETS as Q2
from experiments.harness.files import UserError, write_atomically
from experiments.harness.options import label, parse
from experiments.harness.run import RunDirectory
from experiments.vae.train import PRESETS as Q1
from experiments.wgan.options import PRESETS as Q3

PROJECT = Path(__file__).parents[1]
REFERENCE = PROJECT / "figures" / "reference.json"
PAGES = PROJECT / "README.md", PROJECT / "REPORT.md"
PRESETS: dict[str, Any] = {"q1": Q1, "q2": Q2, "q3": Q3}
COMMANDS = {  # run: options of its command, and its seeds
    "q1-tuned": ("", range(5)),
    "q1-two": ("--elbo-samples 2", range(5)),
    "q1-two-elbo": ("--elbo-samples 2 --objective elbo", range(5)),
    "q1-handout": ("--preset handout", range(5)),
    "q1-iwae": (
        "--epochs 100 --weight-decay 0.03 --objective iwae-by-path --elbo-samples 20 --num-samples 5000",
        range(1),
    ),
    "q2-tuned": ("", range(5)),
    "q2-handout": ("--preset handout", range(1)),
    "q2-gaussian": (
        "--family gaussian --batch-size 256 --iterations 300 --learning-rate 2e-3 --lipschitz-weight 10",
        range(1),
    ),
    "q3-tuned": ("evaluate --data-file FILE --latents 1000", range(1)),
    "q3-short": ("--precision bfloat16 --generator-steps 3500 --data-file FILE --latents 1000", range(1, 4)),
}
SHOWN = {"q1-tuned-0": "", "q2-tuned-0": "", "q3-tuned-0": "gan_"}  # run: how its figures' names in figures/ begin
NUMBER = re.compile(r"(?<![\w.])-?(?:\d[\d,]*)?\.?\d+")


class Records(dict[str, dict[str, Any]]):
    """metrics.json of each run, by its name in RUNS."""

    def get_all(self, run: str, place: str) -> list[Any]:
        """What stands at `place`, keys with dots between them, in each seed's metrics."""
        found = []
        for seed in COMMANDS[run][1]:
            value: Any = self[f"{run}-{seed}"]
            for key in place.split("."):
                value = value[key]
            found.append(value)
        return found

    def mean(self, run: str, place: str) -> float:
        return statistics.mean(self.get_all(run, place))

    def deviation(self, run: str, place: str) -> float:
        return statistics.stdev(self.get_all(run, place))

    def worst(self, run: str, place: str) -> float:
        return max(self.get_all(run, place))

    def gain(self, run: str, other: str, place: str) -> str:
        """Mean and standard error of the difference of two runs, paired by seed."""
        differences = [a - b for a, b in zip(self.get_all(run, place), self.get_all(other, place))]
        stderr = statistics.stdev(differences) / len(differences) ** 0.5
        return f"{statistics.mean(differences):.2f} &plusmn; {stderr:.2f}"


def estimate(found: dict[str, float], digits: int, scale: float = 1) -> str:
    return f"{scale * found['value']:.{digits}f} &plusmn; {abs(scale) * found['stderr']:.{digits}f}"


def sentences(records: Records) -> Iterator[str]:
    """What README.md and REPORT.md quote, with the numbers of the records. Each stands in one of them, or in both."""
    yield from question_1(records)
    yield from question_2(records)
    yield from samples(records)
    yield from directions(records)
    yield from paths(records)
    for run, (options, seeds) in COMMANDS.items():
        command = f"{run[:2]}_solution.py {options}".strip()
        yield f"| {run} | `{command}` | {seeds[0]}{f' to {seeds[-1]}' if len(seeds) > 1 else ''} |"


def question_1(records: Records) -> Iterator[str]:
    elbo, log_p = "valid_elbo", "test_log_likelihood"
    first, iwae = records["q1-tuned-0"], records["q1-iwae-0"]
    bound = f"{records.mean('q1-tuned', elbo):.2f} &plusmn; {first[f'{elbo}_stderr']:.2f}"
    estimated = f"{records.mean('q1-tuned', log_p):.2f} &plusmn; {first[f'{log_p}_stderr']:.2f}"
    deviations = [f"{records.deviation('q1-tuned', key):.2f}" for key in (elbo, log_p)]
    yield f"The validation ELBO is {bound} nats after 20 epochs, the mean"
    yield f"log p(x) at K = 200 is {estimated} nats, the mean"
    yield f"| 1.6 validation ELBO, nats per image | {bound} | {deviations[0]} |"
    yield f"| 1.7 test log p(x), 200 samples, nats per image | {estimated} | {deviations[1]} |"
    weighted = f"{iwae[log_p]:.2f} &plusmn; {iwae[f'{log_p}_stderr']:.2f}"
    yield f"| 1.7 test log p(x), importance-weighted, 5,000 samples | {weighted} |"
    rows = {
        "q1-tuned": "tuned preset",
        "q1-two": "`--elbo-samples 2`",
        "q1-two-elbo": "`--elbo-samples 2 --objective elbo`",
        "q1-handout": "handout preset",
    }
    for run, row in rows.items():
        of_run = [f"{records.mean(run, key):.2f}" for key in ("train_elbo", elbo, "test_elbo", log_p)]
        of_run.insert(2, f"{records.deviation(run, elbo):.2f}")
        yield f"| {row} | {' | '.join(of_run)} | {records.deviation(run, log_p):.2f} |"
    yield f"ends {records.gain('q1-two', 'q1-two-elbo', elbo)} nats higher than the analytic KL"
    yield f"end {records.gain('q1-tuned', 'q1-two', elbo)} nats higher than two"
    yield f"reconstruction term of {first['valid_reconstruction']:.2f} minus a KL divergence of {first['valid_kl']:.2f}"
    active = first["active_latents"]
    greatest, least, *_ = kl = first["kl_by_latent"][0], *first["kl_by_latent"][active - 1 :]
    yield f"{active} of the 100 latents carry all of it, {least:.2f} to {greatest:.2f} nats each"
    yield f"each other latent carries less than {kl[2] + 0.00005:.4f}"
    for metrics, row in ((first, "tuned preset, 20 epochs"), (iwae, "importance-weighted, 100 epochs")):
        by_K = metrics["test_log_likelihood_by_num_samples"].values()
        yield f"| {row} | {' | '.join(f'{value:.2f}' for value in by_K)} |"


def question_2(records: Records) -> Iterator[str]:
    names = ("squared_hellinger", "wasserstein")
    worst = [records.worst("q2-tuned", f"{name}_largest_error") for name in names]
    yield f"| 2.5 squared Hellinger, largest error of 21 | {worst[0]:.4f} |"
    yield f"| 2.5 Wasserstein, largest error of 21 | {worst[1]:.4f} |"
    yield f"| tuned preset, worst of seeds 0 to 4 | {worst[0]:.4f} | {worst[1]:.4f} |"
    for run, row in (("q2-handout", "handout preset, seed 0"), ("q2-gaussian", "command below), seed 0")):
        errors = [records.mean(run, f"{name}_largest_error") for name in names]
        yield f"{row} | {errors[0]:.3f} | {errors[1]:.3f} |"
    rows = {
        "gradient of squared Hellinger's objective by $y$": ("q2-tuned-0", "squared_hellinger_gradient", 4),
        "the same under the handout preset": ("q2-handout-0", "squared_hellinger_gradient", 2),
        "slope of squared Hellinger's critic at $y$": ("q2-tuned-0", "squared_hellinger_slope", 0),
        "gradient of Wasserstein's objective by $y$": ("q2-tuned-0", "wasserstein_gradient", 2),
    }
    for row, (run, key, digits) in rows.items():
        lengths = [records[run][key][k] for k in (1, 5, 10, 20)]
        yield f"| {row} | {' | '.join(f'{length:.{digits}f}' for length in lengths)} |"


DIGITS = {"two_sample": 3, "legible": 3, "kernel_distance": 1, "coverage": 3}  # of question 3's measures
EFFECTS = {  # of a move along a direction: row of REPORT's table, and digits
    "digit_of_legible": ("digit changed, of legible images", 2),
    "luminance": ("luminance: RMS change of the mean grey", 3),
    "chroma": ("chroma: RMS change of the mean colour less its grey", 3),
    "polarity": ("polarity flipped (sign of the skewness of grey values)", 2),
}


def samples(records: Records) -> Iterator[str]:
    """3.1."""
    found = records["q3-tuned-0"]["samples"]
    (handout,) = found["beside"].values()
    sets = found["generated"], handout, found["unseen_photographs"]
    rows = {
        "two_sample": ("two-sample accuracy", "accuracy of a new classifier, samples or photographs"),
        "legible": ("legible share", "legible share of the bundled generator"),
        "kernel_distance": ("KID (1000 MMD&sup2;)", "KID x 1000, of the same samples"),
        "coverage": ("coverage, k = 5", "coverage, of the same samples"),
    }
    for key, (row, of_readme) in rows.items():
        generated, of_handout, unseen = (estimate(part[key], DIGITS[key]) for part in sets)
        yield f"| {row} | {generated} | {of_handout} | {unseen} |"
        yield f"| 3.1 {of_readme} | {generated} | one run | {unseen} |"
    accuracy, other = (f"{part['two_sample']['value']:.0%}" for part in sets[::2])
    yield f"separates samples from photographs in {accuracy} of cases"
    yield f"photographs from other photographs in {other}."
    yield f"separated less often, in {handout['two_sample']['value']:.0%} of cases."
    legible, of_unseen = (f"{part['legible']['value']:.0%}" for part in sets[::2])
    yield f"{legible} of the samples are legible, and {of_unseen} of unseen photographs."
    covered, of_unseen = (f"{part['coverage']['value']:.3f}" for part in sets[::2])
    yield f"Coverage is {covered}, and {of_unseen} for unseen photographs."
    yield f"names {found['judge_accuracy']['value']:.1%} of the test split right"
    yield f"Samples cover {estimate(found['coverage_generated_minus_photographs'], 3, -1)} less"
    chi = found["digit_shares_chi_squared"]
    yield f"chi squared = {chi['value']:.1f}, 9 degrees of freedom, p = {chi['p_value']:.2f}"
    for key, row in (("legible", "legible share"), ("kernel_distance", "KID"), ("coverage", "coverage")):
        place, digits = f"samples.generated.{key}.value", DIGITS[key]
        mean, over = records.mean("q3-short", place), records.deviation("q3-short", place)
        yield f"{row} {mean:.{digits}f} ({over:.{digits}f})"
        if key == "legible":
            unseen = estimate(sets[2][key], digits)
            yield f"| 3 legible share, a generator that you train yourself | {mean:.3f} | {over:.3f} | {unseen} |"


def directions(records: Records) -> Iterator[str]:
    """3.2."""
    found, kinds = records["q3-tuned-0"]["directions"], ("axes", "random", "singular")
    for key, (row, digits) in EFFECTS.items():
        cells = []
        for kind in kinds:
            values = found[kind][key]["value"]
            three = min(values), statistics.mean(values), max(values)
            cells.append(" / ".join(f"{value:.{digits}f}".lstrip("0") for value in three))
        yield f"| {row} | {' | '.join(cells)} |"
    ten = [found[kind]["share_of_pixel_change_in_ten"]["value"] for kind in kinds]
    yield f"| squared change of pixels in the greatest ten | {' | '.join(f'{share:.0%}' for share in ten)} |"
    p_values = [p for key in EFFECTS for p in records.get_all("q3-short", f"directions.axes.{key}.p_value")]
    flips = [of_run[0] for of_run in records.get_all("q3-short", "directions.singular.polarity.value")]
    yield f"random directions either (p at least {min(p_values):.3f}). Direction 0"
    yield f"flips polarity most again, in {min(flips):.0%} to {max(flips):.0%}."


def paths(records: Records) -> Iterator[str]:
    """3.3."""
    found = records["q3-tuned-0"]["paths"]
    half = {kind: found[kind]["legible"]["value"][5] for kind in ("straight", "arc", "pixels")}
    yield (
        f"way {half['straight']:.0%} of the images are legible on the straight path through latents, "
        f"{half['arc']:.0%} on the arc and {half['pixels']:.0%} through pixels."
    )
    for kind, row in (("arc", "latents on the arc"), ("pixels", "pixels")):
        difference = found[f"straight_minus_{kind}"]
        cells = [estimate(dict(value=half[kind], stderr=found[kind]["legible"]["stderr"][5]), 3)]
        cells += [estimate(difference[where], 3) for where in ("half_way", "0.3_to_0.7")]
        yield f"| {row} | {' | '.join(cells)} |"
    straight = dict(value=half["straight"], stderr=found["straight"]["legible"]["stderr"][5])
    yield f"| latents, straight | {estimate(straight, 3)} |"
    ahead = records["q3-short-1"]["paths"]["straight_minus_pixels"]["half_way"]
    yield f"with seed 1 it is ahead by {estimate(ahead, 3)}."


def places(sentence: str) -> re.Pattern:
    """Where a page has the sentence, with any numbers and line breaks."""
    words = (re.escape(part) for part in NUMBER.split(sentence))
    return re.compile(f"({NUMBER.pattern})".join(words).replace(r"\ ", r"\s+"))


def renewed(page: str, sentence: str) -> str:
    """The page with the numbers of the sentence wherever it stands."""

    def with_numbers(place: re.Match) -> str:
        numbers = iter(NUMBER.findall(sentence))
        return NUMBER.sub(lambda _: next(numbers), place[0])

    return places(sentence).sub(with_numbers, page)


def read(runs: Path, run: str, seed: int) -> dict[str, Any] | None:
    """metrics.json of a run in `runs`, or None if it is not there. UserError if its command was another one."""
    folder, (question, *_) = RunDirectory(runs / f"{run}-{seed}"), run.split("-")
    if not (folder.folder / "metrics.json").exists():
        return None
    presets = PRESETS[question]
    on_command_line = parse([*COMMANDS[run][0].split(), f"--seed={seed}"], "", presets)
    asked = replace(presets[on_command_line.get("preset", "tuned")], **on_command_line)
    recorded = folder.read_options(asked, presets)  # None where a bundled generator was evaluated
    if recorded is not None and label(recorded, presets) != label(asked, presets):
        raise UserError(f"{folder.folder} is of the {label(recorded, presets)}, not {label(asked, presets)}")
    return json.loads((folder.folder / "metrics.json").read_bytes())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Renew figures/ and the numbers of README.md and REPORT.md.")
    parser.add_argument("runs", type=Path, help="the folder of the run directories")
    runs = parser.parse_args(argv).runs
    records = Records(json.loads(REFERENCE.read_bytes()))
    for run, (options, seeds) in COMMANDS.items():
        for name, seed in ((f"{run}-{seed}", seed) for seed in seeds):
            if found := read(runs, run, seed):
                records[name] = found
            else:
                command = f"python {run[:2]}_solution.py {options} --seed {seed} --run-dir {runs / name}"
                print(f"{'kept as recorded' if name in records else 'needed'}: {name}, made by {command}")
    if any(f"{run}-{seed}" not in records for run, (_, seeds) in COMMANDS.items() for seed in seeds):
        raise SystemExit("error: run what is needed first; nothing is renewed")
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(metrics)}" for name, metrics in records.items())
    write_atomically(REFERENCE, f"{{\n{lines}\n}}\n".encode())
    for run, prefix in SHOWN.items():
        for figure in sorted((runs / run / "figures").glob("*.png")):
            if not figure.name.startswith("samples_"):  # those followed training
                shutil.copy(figure, REFERENCE.with_name(prefix + figure.name))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for sentence in sentences(records):
            text = renewed(text, sentence)
        write_atomically(page, text.encode())


if __name__ == "__main__":
    main()
