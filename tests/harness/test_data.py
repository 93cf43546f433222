"""Fetching a file from servers good and bad: the right file or one clear error, never a wrong file."""

import hashlib
import http.server
import tempfile
import threading
import time

import pytest

from experiments.harness import data
from experiments.harness.data import PARTIAL, DownloadError, fetch, published_or_stand_in
from experiments.harness.options import UserError

CONTENT = bytes(range(256)) * 1000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
HASHES = {"file": DIGEST}


class Handler(http.server.BaseHTTPRequestHandler):
    """Each folder a kind of behaviour."""

    asked: list
    pauses: list

    def do_GET(self):
        kind = self.path.split("/")[1]
        self.asked.append(kind)
        if kind == "missing" or (kind == "recovers" and len(self.asked) == 1):
            self.send_error(404 if kind == "missing" else 503)
            return
        if kind == "stalls":
            time.sleep(1)
        body = {"html": b"<html>moved</html>", "changed": b"\x01" + CONTENT[1:]}.get(kind, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "drips":
            for byte in body[:200]:  # ten seconds, though no byte is late
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                self.sleep(0.05)
        else:
            self.wfile.write(body[:1000] if kind == "cut" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Returns the address of a folder for a kind of behaviour."""
    Handler.sleep, Handler.asked, Handler.pauses = staticmethod(time.sleep), [], []
    monkeypatch.setattr(
        time, "sleep", lambda seconds, sleep=time.sleep: Handler.pauses.append(seconds) or sleep(min(seconds, 0.3))
    )
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # what is on its way lies beside where it goes, on the same disk
    monkeypatch.setattr(data, "PATIENCE", 0.25)
    monkeypatch.setattr(data, "LEAST", 1000)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # a client that went away
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()  # looks that often whether it is over
        yield lambda kind: f"http://127.0.0.1:{server.server_port}/{kind}/"
        server.shutdown()


@pytest.mark.parametrize("kind", ["good", "recovers"])
def test_right_file_arrives(server, tmp_path, kind, capsys):
    fetch(tmp_path / "folder", HASHES, [server(kind)])
    assert (tmp_path / "folder" / "file").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]
    out = capsys.readouterr().out
    assert f"file served by {server(kind)}" in out
    assert ("trying again: " in out) == (kind == "recovers")
    assert Handler.pauses == ([0, 1] if kind == "recovers" else [0])  # a server is given a second to recover


@pytest.mark.parametrize("kind", ["missing", "html", "changed", "cut", "stalls", "drips"])
def test_second_address_serves_where_the_first_fails(server, tmp_path, kind, capsys):
    """And the first is not asked again for the files that follow."""
    began = time.monotonic()
    fetch(tmp_path, {"one": DIGEST, "two": DIGEST, "three": DIGEST}, [server(kind), server("good")])
    assert time.monotonic() - began < 4 * data.PATIENCE + 1
    assert all((tmp_path / name).read_bytes() == CONTENT for name in ("one", "two", "three"))
    assert Handler.asked == [kind, "good", "good", "good"]
    assert capsys.readouterr().out.count(f"served by {server('good')}") == 3
    assert not (tmp_path / PARTIAL).exists()


@pytest.mark.parametrize(
    ("kind", "reason", "calls"),
    [
        ("missing", "the server answers 404", 2),
        ("html", "is not the published file", 2),
        ("changed", "is not the published file", 2),
        ("cut", "the connection broke off|is not the published file|no connection", 2),
        ("stalls", "the server does not answer", 1),
        ("drips", "or too slowly", 1),
    ],
)
def test_anything_else_is_one_error_and_leaves_nothing(server, tmp_path, kind, reason, calls):
    with pytest.raises(DownloadError, match=f"(?s){kind}.*({reason}).*put the file at .*folder/file") as error:
        fetch(tmp_path / "folder", HASHES, [server(kind)])
    assert "\n" not in str(error.value)
    assert list((tmp_path / "folder").iterdir()) == []
    assert len(Handler.asked) == calls


def test_no_server(server, tmp_path):
    with pytest.raises(DownloadError, match="no connection to the server"):
        fetch(tmp_path, HASHES, ["http://127.0.0.1:9/"])


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "folder").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write .*name another --data-dir"):
        fetch(tmp_path / "folder", HASHES, [server("good")])


def test_what_a_killed_download_left_goes_at_the_next_start(server, tmp_path):
    for hashes in (HASHES, {}):  # also where nothing is missing any more
        (tmp_path / PARTIAL / "abc").mkdir(parents=True)
        (tmp_path / PARTIAL / "abc" / "tmp1234").write_bytes(CONTENT[:1000])
        (tmp_path / "tmp_mine").write_text("not ours")
        fetch(tmp_path, hashes, [server("good")])
        assert {path.name for path in tmp_path.iterdir()} == {"file", "tmp_mine"}


def unpublished():
    raise DownloadError("no network")


def damaged():
    raise ValueError("not the published file")


def test_stand_in_is_taken_where_asked_for_or_where_nothing_else_is_left(capsys):
    def load(dataset, published=lambda: "published"):
        return published_or_stand_in(dataset, published, lambda: "drawn", "stand-in", "which is drawn")

    assert [load(dataset) for dataset in ("auto", "mnist", "stand-in")] == ["published", "published", "drawn"]
    assert capsys.readouterr().err == ""
    assert load("auto", unpublished) == "drawn"
    assert capsys.readouterr().err == "WARNING: no network\nWARNING: going on with stand-in instead, which is drawn\n"
    with pytest.raises(DownloadError):
        load("mnist", unpublished)
    with pytest.raises(UserError, match="not the published file"):
        load("auto", damaged)  # a file that is there and is wrong is not replaced in silence
