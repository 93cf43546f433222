"""Fetching a file from servers that behave and servers that do not: the right file or one clear error, never a wrong file."""

import hashlib
import http.server
import threading
import time

import pytest

from experiments import download
from experiments.download import DownloadError, fetch
from experiments.run import UserError

CONTENT = bytes(range(256)) * 1000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Each path a kind of behaviour."""

    calls = 0

    def do_GET(self):
        type(self).calls += 1
        kind = self.path.strip("/")
        if kind == "missing" or (kind == "recovers" and self.calls == 1):
            self.send_error(404 if kind == "missing" else 503)
            return
        if kind == "stalls":
            time.sleep(1)
        body = {"html": b"<html>moved</html>", "changed": b"\x01" + CONTENT[1:]}.get(kind, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if kind == "cut" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.3)))
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    Handler.calls = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("kind", ["good", "recovers"])
def test_right_file_arrives(server, tmp_path, kind):
    fetch(server + kind, tmp_path / "folder" / "file", DIGEST)
    assert (tmp_path / "folder" / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "the server answers 404"),
        ("html", "is not the published file"),
        ("changed", "is not the published file"),
        ("cut", "the connection broke off|is not the published file|no connection"),
        ("stalls", "the server does not answer"),
    ],
)
def test_anything_else_is_one_error_and_leaves_nothing(server, tmp_path, kind, reason):
    with pytest.raises(DownloadError, match=f"(?s){kind}.*({reason}).*put the file at .*folder/file") as error:
        fetch(server + kind, tmp_path / "folder" / "file", DIGEST)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "folder").iterdir()) == []
    assert Handler.calls == 3


def test_no_server(server, tmp_path):
    with pytest.raises(DownloadError, match="no connection to the server"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", DIGEST)


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "folder").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write .*name another --data-dir"):
        fetch(server + "good", tmp_path / "folder" / "file", DIGEST)
