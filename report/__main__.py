"""`make report`: answer all three questions on this machine, and write the answers as one page."""

import argparse
import base64
import html
import json
import string
import time
from pathlib import Path

from experiments.divergences.evaluate import main as divergences
from experiments.harness.files import write_atomically
from experiments.harness.options import file_path, positive_integer
from experiments.harness.run import versions
from experiments.harness.training import choose_device
from experiments.vae.evaluate import main as vae
from experiments.wgan.evaluate import main as wgan
from q1_samplers import STAND_IN, missing
from q2_samplers import FAMILIES
from report import play

PROJECT = Path(__file__).parents[1]
REFERENCE = PROJECT / "figures" / "reference.json"  # metrics.json of the runs that README.md and REPORT.md quote
TEMPLATE = PROJECT / "report" / "page.html"

FIGURES = {
    "q1": {
        "elbo.png": "The bound on the validation digits as training goes. Higher is better.",
        "log_likelihood.png": "The estimate of log p(x) of the test digits over the number of importance samples.",
        "samples.png": "Digits decoded from latents that were drawn from the prior.",
        "reconstructions.png": "Validation digits above what is left of them after the latents.",
        "latent_walk.png": "The two latents that carry most information, moved while the others stay.",
    },
    "q2": {
        "squared_hellinger.png": "Squared Hellinger distance: 2 as soon as the segments part, at any distance.",
        "wasserstein.png": "Wasserstein distance: it grows with the distance, so its gradient says where to go.",
        "critics.png": "Where each objective moves Q (arrows), over its critic's value: H2 gives almost no gradient.",
    },
    "q3": {
        "samples.png": "Images drawn by the generator; beside them unseen photographs, if this machine has any.",
        "perturbations.png": "Eight latent dimensions, moved; in the corner of each image the digit that is read.",
        "directions.png": "The eight singular directions of the generator's first layer that are dials of this page.",
        "effects.png": "What moves along latent dimensions, random directions and singular directions change.",
        "interpolation.png": "Three pairs, joined straight through latents, along an arc, and through pixels.",
        "nearest.png": "Generated images, and unseen photographs, above the training images nearest to them.",
        "training.png": "What was measured as training went.",
    },
}
Q3 = {
    "legible": "Legible share",
    "kernel_distance": "KID (x 1000)",
    "coverage": "Coverage",
    "two_sample": "Two-sample accuracy",
}
SETS = (("generated", ""), ("unseen_photographs", ", unseen photographs"))
ROWS = (  # question, quantity, where its value is in metrics.json, digits, the 2020 report's value
    ("q1", "Validation ELBO (nats), -102 required", "valid_elbo", 2, "-101.37"),
    ("q1", "Test log p(x) (nats)", "test_log_likelihood", 2, "-95.58"),
    ("q2", "Squared Hellinger, largest error", "squared_hellinger_largest_error", 5, "wrong below 0.5"),
    ("q2", "Wasserstein, largest error", "wasserstein_largest_error", 4, ""),
    *(("q3", Q3[key] + of, f"samples.{kind}.{key}", 3 - 2 * ("KID" in Q3[key]), "") for key in Q3 for kind, of in SETS),
)


def write_page(runs: Path, page: Path, data_dir: Path) -> None:
    """Write the page `page` (a path) about the runs in runs/q1, q2 and q3: one file that needs no other."""
    reference = json.loads(REFERENCE.read_bytes())
    metrics = {question: json.loads((runs / question / "metrics.json").read_bytes()) for question in FIGURES}
    content = play.content(runs, data_dir, metrics)
    content |= {f"figures_{question}": _figures(runs / question / "figures", FIGURES[question]) for question in FIGURES}
    content |= {f"data_{question}": _data(metrics[question], reference[f"{question}-tuned-0"]) for question in FIGURES}
    content["rows"] = "".join(_row(metrics[row[0]], reference[f"{row[0]}-tuned-0"], *row) for row in ROWS)
    content["machine"] = html.escape(", ".join(f"{k} {v}" for k, v in versions(choose_device("auto")).items()))
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, string.Template(TEMPLATE.read_text()).substitute(content).encode())


def _row(measured: dict, reference: dict, question: str, quantity: str, place: str, digits: int, report: str) -> str:
    cells = []
    for metrics in (measured, reference):
        *folders, key = place.split(".")
        for folder in folders:
            metrics = metrics.get(folder, {})
        found = metrics.get(key)
        value, stderr = found.values() if isinstance(found, dict) else (found, metrics.get(f"{key}_stderr"))
        error = "" if stderr is None else f" &plusmn; {stderr:.{digits}f}"
        cells.append("not measured" if value is None else f"{value:.{digits}f}{error}")
    return f"<tr><th>{question[1]}</th>{''.join(f'<td>{cell}</td>' for cell in (quantity, *cells, report))}</tr>\n"


def _data(measured: dict, reference: dict) -> str:
    """What was measured on which data, and whether the reference compares."""
    sentence = f"This machine: {_run(measured)}; reference: {_run(reference)}. "
    if "family" in measured:
        return html.escape(sentence + FAMILIES[measured["family"]].description)
    on = measured["dataset"]
    sentence += f"Measured on <b>{html.escape(on)}</b>" if on else "No real images on this machine"
    if "trained_on" in measured:
        sentence += f", with a generator trained on <b>{html.escape(str(measured['trained_on']))}</b>"
    if measured["dataset"] and measured["dataset"] != reference["dataset"]:
        sentence += f"; the reference run was on {html.escape(reference['dataset'])}, so <b>the two do not compare</b>"
    return sentence + "."


def _run(metrics: dict) -> str:
    """What sets a run apart, as far as its metrics.json says it."""
    units = {"epochs": "epochs", "generator_step": "generator steps"}
    lengths = [f"{metrics[key]:,} {unit}" for key, unit in units.items() if metrics.get(key)]
    return ", ".join([f"{metrics.get('preset')} preset", *lengths, f"seed {metrics.get('seed')}"])


def _figures(folder: Path, captions: dict[str, str]) -> str:
    """The figures that are there, as HTML that holds the pictures themselves; its style is in page.html, by class."""
    shown = ""
    for path, caption in ((folder / name, html.escape(caption)) for name, caption in captions.items()):
        if path.exists():
            picture = base64.b64encode(path.read_bytes()).decode()
            shown += f'<figure class="{folder.parent.name}-{path.stem}">'
            shown += f'<img src="data:image/png;base64,{picture}" alt="{caption}">'
            shown += f"<figcaption>{caption}</figcaption></figure>\n"
    return shown


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Answer all three questions on this machine, as one page.")
    parser.add_argument("--data-dir", type=file_path, default="data", help="where the data files are or go (data)")
    parser.add_argument("--data-file", type=file_path, help="an SVHN .mat file, to compare with and to train on")
    steps = "train a new generator for so many steps (explore the bundled one)"
    parser.add_argument("--gan-steps", type=positive_integer, help=steps)
    parser.add_argument("--runs", type=file_path, default="runs", help="where the runs are recorded (runs)")
    return parser.parse_args(argv)


def set_aside_stand_in(run_dir: Path, published: bool) -> None:
    """Rename a run on a stand-in, if the published files are there now, so that a run on these begins."""
    record, aside = run_dir / "options.json", run_dir.with_name(f"{run_dir.name}-{STAND_IN}")
    if published and record.exists() and json.loads(record.read_bytes())["dataset"] == STAND_IN:
        run_dir.rename(aside)
        print(f"{run_dir} was on {STAND_IN} and is {aside} now; a new run on the published files starts")


def main(argv: list[str] | None = None) -> int:
    """The command `python -m report`. Returns its exit code."""
    arguments = parse(argv)
    runs, data = arguments.runs, ["--data-dir", str(arguments.data_dir)]
    photos = [*data, *(["--data-file", str(arguments.data_file)] if arguments.data_file else [])]
    set_aside_stand_in(runs / "q1", not missing(arguments.data_dir))
    parts = [  # title, command, run directory, options, and the minutes that it took on two quiet cores
        ("1: a VAE on binarized MNIST", vae, "q1", ["--resume", *data], 2.8),
        ("2: two divergences", divergences, "q2", ["--resume"], 0.4),
        ("3: exploring a generator", wgan, "q3", ["evaluate", *photos], 0.7),
    ]
    if arguments.gan_steps:
        gan = ["train", "--resume", "--generator-steps", str(arguments.gan_steps), *photos]
        parts.insert(2, ("3: training a generator", wgan, "q3", gan, arguments.gan_steps / 60))
    began, total = time.perf_counter(), sum(part[-1] for part in parts)
    print(f"Answering the assignment takes {total:.0f} to {2 * total:.0f} minutes on two cores, less with stand-ins.")
    print("If interrupted, run make report again; it resumes.")
    for title, part, folder, options, minutes in parts:
        print(f"\n== Question {title}: {minutes:.1f} minutes on two quiet cores", flush=True)
        if code := part([*options, "--run-dir", str(runs / folder)]):
            return code
    page = runs / "report" / "index.html"
    write_page(runs, page, arguments.data_dir)
    print(f"\nAll answered in {(time.perf_counter() - began) / 60:.1f} minutes: open {page} in a browser")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
