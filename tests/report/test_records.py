"""README.md and REPORT.md print what figures/reference.json holds, and one command renews both."""

import json
import re

import pytest

from tools import records
from tools.records import PAGES, REFERENCE, Records, places, renewed, sentences

UNMEASURED = {"-101.37", "-95.58", "0.5", "0.97"}  # the 2020 report's numbers, and what equality would give
MEASURED = re.compile(r"(?<![\w.])-?\d*\.\d+|\d+%")
ROW = r"^\|(?! `--)[^\n]*\|$(?!\n\|---)"  # neither of options nor of headings
EMPHASISED = re.compile(rf"{ROW}|\*\*.+?\*\*", re.MULTILINE | re.DOTALL)


@pytest.fixture
def recorded():
    return Records(json.loads(REFERENCE.read_text()))


def test_the_pages_print_what_the_records_hold(recorded):
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    for sentence in sentences(recorded):
        assert any(places(sentence).search(page) for page in pages), sentence
        assert [renewed(page, sentence) for page in pages] == pages, sentence


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_measured_number_of_a_table_or_bold_sentence_has_a_record(recorded, page):
    text = page.read_text(encoding="utf-8")
    for sentence in sentences(recorded):
        text = places(sentence).sub("|", text)
    for place in EMPHASISED.findall(text):
        assert not {*MEASURED.findall(re.sub(r"`.*?`|^\*\*\d\.\d", "", place))} - UNMEASURED, place


def test_one_command_renews_records_figures_and_pages_and_names_what_it_lacks(tmp_path, monkeypatch, capsys, recorded):
    reference, page = tmp_path / "figures" / "reference.json", tmp_path / "README.md"
    (tmp_path / "runs" / "q2-tuned-0" / "figures").mkdir(parents=True)
    reference.parent.mkdir()
    reference.write_bytes(REFERENCE.read_bytes())
    (tmp_path / "runs" / "q2-tuned-0" / "figures" / "wasserstein.png").write_bytes(b"new")
    found = recorded["q2-tuned-0"] | {"wasserstein_largest_error": 0.4567}
    (tmp_path / "runs" / "q2-tuned-0" / "metrics.json").write_text(json.dumps(found))
    page.write_text("ours:\n| 2.5 Wasserstein, largest error\nof 21 | 0.0040 |")
    monkeypatch.setattr(records, "REFERENCE", reference)
    monkeypatch.setattr(records, "PAGES", [page])
    records.main([str(tmp_path / "runs")])
    assert page.read_text() == "ours:\n| 2.5 Wasserstein, largest error\nof 21 | 0.4567 |"
    assert (reference.parent / "wasserstein.png").read_bytes() == b"new"
    assert json.loads(reference.read_text()) == recorded | {"q2-tuned-0": found}
    command = f"python q1_solution.py --elbo-samples 2 --seed 3 --run-dir {tmp_path / 'runs' / 'q1-two-3'}"
    assert f"kept as recorded: q1-two-3, made by {command}\n" in (lacking := capsys.readouterr().out)
    assert "q2-tuned-0" not in lacking
