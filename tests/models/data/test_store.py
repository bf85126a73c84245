import gzip
import hashlib
import http.server
import threading

import pytest

from models.data.store import RemoteFile, cache_folder, fetch
from models.errors import DataSetCorruptError, DataSetUnavailableError

CONTENT = gzip.compress(b"pixels" * 1000, mtime=0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Recorder:
    def __init__(self):
        self.messages, self.steps = [], []

    def message(self, text):
        self.messages.append(text)

    def step(self, label, done, total):
        self.steps.append((label, done, total))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path == "/missing.gz":
            self.send_error(404)
            return
        if self.path == "/moved.gz":
            self.send_response(302)
            self.send_header("Location", "/images.gz")
            self.end_headers()
            return
        self.send_response(200)
        # As some servers label .gz files: the file must be kept packed all the same.
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:-5] if self.path == "/torn.gz" else CONTENT)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WHYSERVE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("WHYSERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def remote(server, name, sha256=SHA256):
    return RemoteFile(f"http://127.0.0.1:{server.server_port}/{name}", len(CONTENT), sha256)


@pytest.mark.parametrize("name", ["images.gz", "moved.gz"])
def test_a_file_is_downloaded_once_with_progress(places, server, name):
    progress = Recorder()
    file = remote(server, name)
    found = fetch(file, "clothes", progress)
    assert found.official
    assert found.path == places / "cache" / "data" / "clothes" / name
    assert found.path.read_bytes() == CONTENT
    assert progress.steps[-1] == (f"download {name}", len(CONTENT), len(CONTENT))
    assert progress.messages == [f"data: downloading {file.url} to {found.path}"]
    requests = len(server.requests)
    assert fetch(file, "clothes", progress) == found
    assert len(server.requests) == requests
    assert [path.name for path in found.path.parent.iterdir()] == [name]


def test_another_file_is_refused_and_nothing_of_it_kept(places, server):
    expected = "0" * 64
    with pytest.raises(
        DataSetCorruptError, match=rf"SHA-256 must be {expected}. Received: {SHA256} \({len(CONTENT)} bytes"
    ):
        fetch(remote(server, "images.gz", expected), "clothes", Recorder())
    assert list((places / "cache" / "data" / "clothes").iterdir()) == []


@pytest.mark.parametrize(("name", "reason"), [("missing.gz", "404"), ("torn.gz", "RemoteProtocolError")])
def test_a_failed_download_says_why_and_leaves_nothing(places, server, name, reason):
    with pytest.raises(
        DataSetUnavailableError, match=f"needs {name}. Looked for: .*{reason}.* put the file into a folder"
    ):
        fetch(remote(server, name), "clothes", Recorder())
    assert list((places / "cache" / "data" / "clothes").iterdir()) == []


@pytest.mark.parametrize("folder", ["data/clothes", "data"])
@pytest.mark.parametrize("content", [CONTENT, b"mine"])
def test_the_users_folder_goes_first_and_is_told_from_the_official_file(places, server, folder, content):
    (places / folder).mkdir(parents=True)
    (places / folder / "images.gz").write_bytes(content)
    found = fetch(remote(server, "images.gz"), "clothes", Recorder())
    assert found.path == places / folder / "images.gz"
    assert found.official == (content == CONTENT)
    assert server.requests == []


def test_without_a_variable_the_cache_is_in_the_home(monkeypatch, tmp_path):
    monkeypatch.delenv("WHYSERVE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("clothes") == tmp_path / ".cache" / "whyserve" / "data" / "clothes"
