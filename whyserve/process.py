"""A server in a process of its own: `whyserve serve` on free ports, stopped with SIGTERM whatever happens."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from whyserve.errors import CommandError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.01
LOG_LINES = 15


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports of this machine that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def serve_arguments(
    model: Path, name: str, *, port: int, rest_api_port: int, engine: str = "onnxruntime", flags: Sequence[str] = ()
) -> list[str]:
    """What follows `whyserve` to serve one model.

    Args:
        model: The model's folder, which holds its versions.
        name: The name it is served under.
        port: For gRPC.
        rest_api_port: For REST.
        engine: `onnxruntime` or `tensorflow`.
        flags: More flags.

    Returns:
        The arguments.
    """
    return [
        "serve",
        f"--engine={engine}",
        f"--port={port}",
        f"--rest_api_port={rest_api_port}",
        f"--model_name={name}",
        f"--model_base_path={model.resolve()}",
        *flags,
    ]


class ServerProcess:
    """A running server; a context manager.

    Args:
        model: The model's folder, which holds its versions.
        name: The name it is served under.
        log: The file that receives what the server prints.
        engine: `onnxruntime` or `tensorflow`.
        flags: More flags for `whyserve serve`.
    """

    def __init__(
        self, model: Path, name: str, *, log: Path, engine: str = "onnxruntime", flags: Sequence[str] = ()
    ) -> None:
        self.port, self.rest_api_port = free_ports(2)
        self.name = name
        self.engine = engine
        self._log = log
        self._arguments = serve_arguments(
            model, name, port=self.port, rest_api_port=self.rest_api_port, engine=engine, flags=flags
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0

    @property
    def rest_url(self) -> str:
        """Where REST answers."""
        return f"http://127.0.0.1:{self.rest_api_port}"

    @property
    def grpc_address(self) -> str:
        """Where gRPC answers."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._running().pid

    def start(self) -> None:
        """Starts the process; does not wait for it."""
        with self._log.open("wb") as log:
            self.started_at = time.monotonic()
            command = [sys.executable, "-m", "whyserve", *self._arguments]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def wait_until_available(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Waits until the model's status is AVAILABLE.

        Raises:
            CommandError: The server ended, or did not get there in time; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not self._is_available():
            status = self._running().poll()
            if status is not None:
                raise CommandError(f"The server ended with status {status} instead of serving.\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise CommandError(f"The server was not ready within {timeout_s:.0f} s.\n{self.log_tail()}")
            time.sleep(POLL_S)

    def wait(self) -> int:
        """Waits until the server ends by itself; its exit status."""
        return self._running().wait()

    def stop(self) -> int:
        """Ends the server with SIGTERM, which drains it.

        Returns:
            Its exit status; 0 when it drained. One that does not end in time is killed.
        """
        process = self._running()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def log_tail(self) -> str:
        """The last lines that the server printed."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise CommandError("Expected a server that was started. Call `start` first.")
        return self._process

    def _is_available(self) -> bool:
        try:
            with urlopen(f"{self.rest_url}/v1/models/{self.name}", timeout=5) as answer:  # noqa: S310  # our own http URL
                return b'"AVAILABLE"' in answer.read()
        except (URLError, OSError):
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the work as SIGINT does, through `finally`, so that no server is left behind."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
