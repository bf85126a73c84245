"""Certificates and tokens that are damaged while the server runs: the last good ones stay in use."""

import json
import ssl
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import trustme

from tests.robustness.attack import EXAMPLES, FLAGS, NAME
from tests.robustness.check_versions import wait_for
from tests.serving.security.servers import write_ssl_config
from whyserve.process import ServerProcess

TOKEN, OTHER_TOKEN = "t" * 24, "o" * 24
DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 20),
    "removed": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}
# Files are looked at once a second.
LOOKED_AT_S = 1.6


def ask(port, *, token=None, context=None):
    """The status of a prediction."""
    scheme = "http" if context is None else "https"
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = json.dumps({"instances": EXAMPLES.tolist()}).encode()
    request = Request(f"{scheme}://localhost:{port}/v1/models/{NAME}:predict", body, headers)
    try:
        with urlopen(request, timeout=20, context=context) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def restore(path, content):
    if path.is_dir():
        path.rmdir()
    path.write_bytes(content)


@pytest.fixture
def start(model, tmp_path):
    """Starts a server that has the model, and gives its REST port once it is ready."""
    running = []

    def start_with(*flags):
        process = ServerProcess(model, NAME, log=tmp_path / "server.log", flags=(*FLAGS, *flags))
        process.start()
        running.append(process)
        wait_for(lambda: "Ready: " in process.log_tail())
        return process

    yield start_with
    for process in running:
        assert process.stop() == 0
        assert "Traceback" not in process.log_tail()


def test_a_damaged_file_of_tokens_lets_in_whom_the_last_good_one_let_in(start, tmp_path):
    path = tmp_path / "tokens"
    good = f"caller:{TOKEN}\n".encode()
    path.write_bytes(good)
    path.chmod(0o600)
    server = start(f"--auth_tokens_file={path}")
    port = server.rest_api_port
    for damage in DAMAGES.values():
        damage(path)
        time.sleep(LOOKED_AT_S)
        assert (ask(port, token=TOKEN), ask(port, token=OTHER_TOKEN), ask(port)) == (200, 401, 401)
        restore(path, good)
    restore(path, f"caller:{OTHER_TOKEN}\n".encode())
    wait_for(lambda: ask(port, token=OTHER_TOKEN) == 200)
    assert ask(port, token=TOKEN) == 401


def test_a_damaged_certificate_leaves_the_last_good_one_in_use(start, tmp_path):
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    path = write_ssl_config(tmp_path / "ssl.config", authority.issue_cert("localhost"))
    good = path.read_bytes()
    server = start(f"--ssl_config_file={path}")
    port = server.rest_api_port
    for damage in DAMAGES.values():
        damage(path)
        time.sleep(LOOKED_AT_S)
        assert ask(port, context=context) == 200
        restore(path, good)
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(port, context=ssl.create_default_context())
