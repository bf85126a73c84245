"""The README's blocks, run in order as a reader would: `run` blocks to the end, the `serve` block in the background."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.whyserve.conftest import ROOT
from whyserve.cli import COMMANDS
from whyserve.process import free_ports

BLOCK = re.compile(r"^```(\w+) (run|serve)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
README = (ROOT / "README.md").read_text()


def anchors(page):
    """What links may name of a page: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_file_and_heading_that_is_linked_is_there():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        assert (ROOT / name).is_file(), link
        assert not anchor or anchor in anchors(ROOT / name), link


def test_every_command_is_told():
    assert all(f"`whyserve {command}" in README for command in COMMANDS)


def test_every_package_is_told():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert all(f"\n{package}/ " in README for package in packages)


def test_the_picture_is_small_enough_for_a_page():
    assert (ROOT / "docs" / "explanations.png").stat().st_size < 250_000


@pytest.mark.slow
def test_the_blocks_run_in_order(tmp_path):
    blocks = BLOCK.findall(README)
    assert [kind for _, kind, _ in blocks] == ["run", "run", "serve", "run", "run", "run"]
    shell = Shell(tmp_path)
    outputs = []
    try:
        for language, kind, text in blocks:
            outputs.append(shell.serve(text) if kind == "serve" else shell.run(language, text))
    finally:
        shell.close()
    asked, curl, client = outputs[3:]
    assert "wine, version 1" in asked
    assert (tmp_path / "why.png").is_file()
    assert '"featureAttributions"' in curl
    assert re.search(r"class \[0\] score \[\d", client)


class Shell:
    """Runs blocks in one folder, with the environment activated and ports that are free."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = dict(zip(("8500", "8501"), map(str, free_ports(2)), strict=True))
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        self.server = None

    def run(self, language, text):
        for documented, free in self.ports.items():
            text = text.replace(documented, free)
        # The command's default URL is the documented port.
        text = text.replace(
            "whyserve explain wine", f"whyserve explain wine --url http://localhost:{self.ports['8501']}"
        )
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        result = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    def serve(self, text):
        grpc, rest = self.ports.values()
        command = f"exec {text.strip()} --port={grpc} --rest_api_port={rest} --drain_delay_s=0"
        self.server = subprocess.Popen(["bash", "-c", command], cwd=self.folder, env=self.environment)
        deadline = time.monotonic() + 60
        while self.server.poll() is None and time.monotonic() < deadline:
            try:
                return urlopen(f"http://localhost:{rest}/readyz").read().decode()
            except OSError:  # nobody listens yet
                time.sleep(0.05)
        raise AssertionError("the server is not ready")

    def close(self):
        if self.server is not None:
            self.server.terminate()
            assert self.server.wait(30) == 0
