"""A server in a container, with whichever of docker, podman and buildah has the image."""

import json
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from whyserve.process import free_ports

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60
POLL_S = 0.02
GRPC_PORT, REST_PORT = 8500, 8501


class EngineError(RuntimeError):
    """The container engine failed, or the server in the container did."""


class Container(ABC):
    """A started container of the server's image; a context manager.

    Args:
        image: The image's name.
        repository: Folder of models, mounted read-only at the image's volume.
    """

    engine: str
    grpc_port: int
    rest_port: int
    # When the engine was told to run it, on the monotonic clock: a copy that it makes of the image first doesn't count.
    _called: float

    def __init__(self, image: str, repository: Path) -> None:
        self.image = image
        self.repository = repository
        self._start()
        self.wait_until_ready()
        self.start_s = time.monotonic() - self._called

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    @property
    def url(self) -> str:
        """Where REST is."""
        return f"http://127.0.0.1:{self.rest_port}"

    def wait_until_ready(self) -> None:
        """Polls readiness."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                log = self.log()
                self.remove()
                raise EngineError(f"The server in {self.image} must become ready in {START_TIMEOUT_S:g} s. Log:\n{log}")
            time.sleep(POLL_S)

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/readyz", timeout=2) as reply:
                return bool(reply.status == 200)
        except HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    @abstractmethod
    def _start(self) -> None:
        """Starts the image's own command, and sets the ports and the time."""

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The image's configuration (User, Entrypoint, Healthcheck, ...), as docker names it."""

    @abstractmethod
    def is_running(self) -> bool:
        """Whether the server is there."""

    @abstractmethod
    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the container, as the image's user."""

    @abstractmethod
    def server_status(self) -> dict[str, str]:
        """The server process's /proc/<pid>/status."""

    @abstractmethod
    def terminate(self) -> None:
        """Sends the server SIGTERM."""

    @abstractmethod
    def wait(self) -> int:
        """Waits for the end and gives the exit status."""

    @abstractmethod
    def log(self) -> str:
        """What the server printed."""

    @abstractmethod
    def remove(self) -> None:
        """Ends it, if it still runs, and takes it away."""


class DaemonContainer(Container):
    """With docker or podman: read-only, without capabilities, on the ports the engine chose."""

    def __init__(self, engine: str, image: str, repository: Path) -> None:
        self.engine = engine
        super().__init__(image, repository)

    def _start(self) -> None:
        restrictions = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        ports = [f"--publish=127.0.0.1::{port}" for port in (GRPC_PORT, REST_PORT)]
        volume = f"--volume={self.repository}:/models:ro"
        self._called = time.monotonic()
        self._id = output(self.engine, "run", "--detach", *restrictions, *ports, volume, self.image).strip()
        self.grpc_port, self.rest_port = self._published(GRPC_PORT), self._published(REST_PORT)

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(output(self.engine, "image", "inspect", self.image))[0]["Config"]
        return config

    def _published(self, port: int) -> int:
        return int(output(self.engine, "port", self._id, f"{port}/tcp").splitlines()[0].rpartition(":")[2])

    def is_running(self) -> bool:
        return output(self.engine, "inspect", "--format={{.State.Running}}", self._id).strip() == "true"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return completed(self.engine, "exec", self._id, *command)

    def server_status(self) -> dict[str, str]:
        return parse_status(self.run("cat", "/proc/1/status").stdout)

    def terminate(self) -> None:
        output(self.engine, "kill", "--signal=TERM", self._id)

    def wait(self) -> int:
        return int(output(self.engine, "wait", self._id, timeout_s=STOP_TIMEOUT_S))

    def log(self) -> str:
        reply = completed(self.engine, "logs", self._id)
        return reply.stdout + reply.stderr

    def remove(self) -> None:
        completed(self.engine, "rm", "--force", "--volumes", self._id)


class BuildahContainer(Container):
    """With buildah, in a chroot, on the host's network: for machines without an engine.

    There is no read-only root here; that nothing is written outside /tmp is for the checks to look at.
    """

    engine = "buildah"

    def __init__(self, buildah: tuple[str, ...], image: str, repository: Path) -> None:
        self._buildah = buildah
        super().__init__(image, repository)

    def _start(self) -> None:
        config = self.config
        self.grpc_port, self.rest_port = free_ports(2)
        self._name = output(*self._buildah, "from", "--pull-never", self.image).strip()
        # buildah puts a volume of the image's own over what is mounted there.
        health_port = f"WHYSERVE_HEALTH_PORT={self.rest_port}"
        output(*self._buildah, "config", "--volume=/models-", f"--env={health_port}", self._name)
        command = [
            *config["Entrypoint"],
            *config["Cmd"],
            f"--port={self.grpc_port}",
            f"--rest_api_port={self.rest_port}",
        ]
        self._called = time.monotonic()
        self._process = subprocess.Popen(
            [*self._run, "--", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._log = ""

    @property
    def _run(self) -> list[str]:
        return [*self._buildah, "run", "--isolation=chroot", f"--volume={self.repository}:/models:ro", self._name]

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(output(*self._buildah, "inspect", "--type=image", self.image))["Docker"][
            "config"
        ]
        return config

    def is_running(self) -> bool:
        return self._process.poll() is None

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return completed(*self._run, "--", *command)

    def server_status(self) -> dict[str, str]:
        return parse_status(Path(f"/proc/{self._pid()}/status").read_text())

    def _pid(self) -> int:
        """The server is the last of buildah's line of descendants."""
        pid = self._process.pid
        while children := children_of(pid):
            pid = children[0]
        return pid

    def terminate(self) -> None:
        os.kill(self._pid(), signal.SIGTERM)

    def wait(self) -> int:
        self._log = self._process.communicate(timeout=STOP_TIMEOUT_S)[0]
        return self._process.returncode

    def log(self) -> str:
        if self.is_running():
            self.terminate()
            self.wait()
        return self._log

    def remove(self) -> None:
        if self.is_running():
            self.terminate()
            self.wait()
        completed(*self._buildah, "rm", self._name)


BUILDAHS = (("buildah",), ("buildah", "--storage-driver=vfs"))


def start(image: str, repository: Path) -> Container:
    """Starts the server with the first engine that has the image.

    Raises:
        EngineError: None has it.
    """
    for engine in ("docker", "podman"):
        if _has(engine, "image", "inspect", image):
            return DaemonContainer(engine, image, repository)
    for buildah in BUILDAHS:
        if _has(*buildah, "inspect", "--type=image", image):
            return BuildahContainer(buildah, image, repository)
    raise EngineError(f"docker, podman or buildah must have the image. Received: {image}. Build it with `make image`.")


def children_of(pid: int) -> list[int]:
    """Process ids of the children; each thread lists those it started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def parse_status(text: str) -> dict[str, str]:
    """The lines of /proc/<pid>/status."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def completed(*command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs a command and gives what it printed, whatever its status."""
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def output(*command: str, timeout_s: float = 120) -> str:
    """What a command prints on standard output.

    Raises:
        EngineError: It failed.
    """
    reply = completed(*command, timeout_s=timeout_s)
    if reply.returncode != 0:
        raise EngineError(
            f"{' '.join(command)} must end with status 0. It ended with {reply.returncode}:\n{reply.stderr}"
        )
    return reply.stdout


def _has(*command: str) -> bool:
    try:
        return completed(*command).returncode == 0
    except FileNotFoundError:
        return False
