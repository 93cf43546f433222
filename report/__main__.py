"""`make report`: answer all three questions on this machine, and write the answers as one page."""

if __name__ == "__main__":
    from experiments import interrupt

    interrupt.end_at_once()  # until the command is at work

import argparse
import base64
import contextlib
import html
import json
import string
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from experiments import divergences, vae, wgan
from experiments.options import UserError, positive_integer
from experiments.run import RunDirectory, versions, write_atomically
from experiments.training import choose_device
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
        "squared_hellinger.png": "Squared Hellinger distance: 2 as soon as the segments part, however far they are apart.",
        "wasserstein.png": "Wasserstein distance: it grows with the distance, so its gradient says where to go.",
    },
    "q3": {
        "samples.png": "Images drawn by the generator; beside them real ones, where there are any on this machine.",
        "digits.png": "How often the classifier sees each digit, in generated and in real images.",
        "perturbations.png": "The latent dimensions that change the digit most and those that change the colour most, moved.",
        "interpolation_latent.png": "Between two images along a straight line of latents: each step is an image of its own.",
        "interpolation_data.png": "Between the same two images along a straight line of pixels: a double exposure.",
        "interpolation_spherical.png": "Between the same two images along an arc of latents, which keeps their length.",
        "interpolation_legible.png": "What each way costs: how many images on it can be read, and how far out it runs.",
        "nearest.png": "Generated images above the training images that are nearest to them.",
        "training.png": "How the training went.",
    },
}
ROWS = (  # question, quantity, its key and the key of its standard error or spread, digits, what the 2020 report had
    ("q1", "Validation ELBO (nats), -102 required", "valid_elbo", "valid_elbo_stderr", 2, "-101.37"),
    ("q1", "Test log p(x) (nats)", "test_log_likelihood", "test_log_likelihood_stderr", 2, "-95.58"),
    ("q2", "Squared Hellinger, largest error", "squared_hellinger_largest_error", None, 5, "wrong below 0.5"),
    ("q2", "Wasserstein, largest error", "wasserstein_largest_error", None, 4, ""),
    *(
        ("q3", f"{quantity}{of}", f"{key}{suffix}", f"{key}_{error}{suffix}", digits, "")
        for key, quantity, error, digits in (
            ("legible", "Legible share", "stderr", 3),
            ("kernel_distance", "Kernel distance to the test block", "stderr", 1),
            ("coverage", "Coverage of the test block", "stderr", 3),
            ("sliced_wasserstein", "Sliced Wasserstein distance", "spread", 1),
        )
        for of, suffix in (("", ""), (", of real training images", "_of_training_images"))
    ),
)


def write_page(runs: Path, page: Path, data_dir: Path) -> None:
    """Write the page `page` (a path) about the runs in runs/q1, q2 and q3: one file that needs no other."""
    reference = json.loads(REFERENCE.read_bytes())
    metrics = {question: json.loads((runs / question / "metrics.json").read_bytes()) for question in FIGURES}
    content = play.content(runs, data_dir, metrics)
    content |= {f"figures_{question}": _figures(runs / question / "figures", FIGURES[question]) for question in FIGURES}
    content |= {f"data_{question}": _data(metrics[question], reference[question]) for question in FIGURES}
    content["rows"] = "".join(_row(metrics[row[0]], reference[row[0]], *row) for row in ROWS)
    machine = ", ".join(f"{name} {value}" for name, value in versions(choose_device("auto")).items() if value is not None)
    content["machine"] = html.escape(machine)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, string.Template(TEMPLATE.read_text()).substitute(content).encode())


def _row(
    measured: dict, reference: dict, question: str, quantity: str, key: str, error: str | None, digits: int, handout: str
) -> str:
    here, there = (_value(metrics, key, error, digits) for metrics in (measured, reference))
    return f"<tr><th>{question[1]}</th><td>{quantity}</td><td>{here}</td><td>{there}</td><td>{handout}</td></tr>\n"


def _value(metrics: dict, key: str, error: str | None, digits: int) -> str:
    if key not in metrics:
        return "not measured"
    return f"{metrics[key]:.{digits}f}" + (f" &plusmn; {metrics[error]:.{digits}f}" if error else "")


def _data(measured: dict, reference: dict) -> str:
    """What was measured on which data, and whether the reference compares."""
    if "family" in measured:
        return html.escape(f"{divergences.FAMILIES[measured['family']].description}, preset {measured['preset']}")
    sentence = (
        f"Measured on <b>{html.escape(measured['dataset'])}</b>" if measured["dataset"] else "No real images on this machine"
    )
    if "trained_on" in measured:
        sentence += f", with a generator trained on <b>{html.escape(str(measured['trained_on']))}</b>"
    if measured["dataset"] and measured["dataset"] != reference["dataset"]:
        sentence += f"; the reference run was on {html.escape(reference['dataset'])}, so <b>the two do not compare</b>"
    return sentence + "."


def _figures(folder: Path, captions: dict[str, str]) -> str:
    """The figures that are there, as HTML that holds the pictures themselves; its style is in page.html, by class."""
    shown = ""
    for path, caption in ((folder / name, html.escape(caption)) for name, caption in captions.items()):
        if path.exists():
            picture = base64.b64encode(path.read_bytes()).decode()
            shown += f'<figure class="{folder.parent.name}-{path.stem}">'
            shown += f'<img src="data:image/png;base64,{picture}" alt="{caption}"><figcaption>{caption}</figcaption></figure>\n'
    return shown


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Answer all three questions on this machine, as one page.")
    parser.add_argument("--data-dir", default="data", help="where the data files are or go (data)")
    parser.add_argument("--data-file", help="an SVHN .mat file, to compare the generator with and to train on")
    parser.add_argument(
        "--gan-steps", type=positive_integer, help="train a new generator for so many steps (explore the bundled one)"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are recorded (runs)")
    return parser.parse_args(argv)


def resume(experiment: ModuleType, **asked: Path | None) -> list[str]:
    """["--resume"], or nothing if the run there is on a stand-in though the published files are there now, as asked."""
    options = replace(experiment.PRESETS["tuned"], **asked)
    with contextlib.suppress(UserError):  # which the experiment itself will report
        recorded = RunDirectory(options.run_dir).read_options(options)
        if recorded is not None and experiment.could_be_on_published(recorded, options):
            print(f"{options.run_dir} is on {recorded.dataset}; the published files are there now, so a new run starts")
            return []
    return ["--resume"]


def main(argv: list[str] | None = None) -> int:
    """The command `python -m report`. Returns its exit code."""
    arguments = parse(argv)
    runs, data_dir = arguments.runs, Path(arguments.data_dir)
    data_file = Path(arguments.data_file) if arguments.data_file else None
    svhn = ["--data-file", arguments.data_file] if arguments.data_file else []
    parts = [  # title, command, run directory, options, and the minutes that it took on two quiet cores
        ("1: a VAE on binarized MNIST", vae.main, "q1", resume(vae, run_dir=runs / "q1", data_dir=data_dir), 3.0),
        ("2: two divergences", divergences.main, "q2", ["--resume"], 0.5),
        ("3: exploring a generator", wgan.main, "q3", ["evaluate", *svhn], 1.0),
    ]
    if arguments.gan_steps:
        asked = resume(wgan, run_dir=runs / "q3", data_dir=data_dir, data_file=data_file)
        gan = ["train", *asked, "--generator-steps", str(arguments.gan_steps), *svhn]
        parts.insert(2, ("3: training a generator", wgan.main, "q3", gan, arguments.gan_steps / 60))
    began, done, total = time.perf_counter(), 0.0, sum(part[-1] for part in parts)
    print(
        f"Answering the assignment takes {total:.0f} to {2 * total:.0f} minutes on two cores, more while data are downloaded, "
        "less with what stands in for them; interrupted, the same command goes on where it was."
    )
    for title, part, folder, more, minutes in parts:
        spent = (time.perf_counter() - began) / 60
        left = (total - done) * (max(spent / done, 1) if done else 1)
        print(f"\n== Question {title}; about {max(left, 1):.0f} min left in all", flush=True)
        where = ["--data-dir", str(arguments.data_dir), "--run-dir", str(runs / folder)]
        if code := part([*more, *where]):
            if code == 130:
                print("make report names --resume itself: run it again", file=sys.stderr)
            return code
        done += minutes
    page = runs / "report" / "index.html"
    write_page(runs, page, data_dir)
    print(f"\nAll answered in {(time.perf_counter() - began) / 60:.1f} minutes: open {page} in a browser")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
