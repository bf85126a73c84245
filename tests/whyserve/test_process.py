import os
import signal
import socket

import pytest

from whyserve.errors import CommandError
from whyserve.process import ServerProcess, free_ports, interruptible


def test_free_ports_are_distinct_and_can_be_bound():
    ports = free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        with socket.socket() as each:
            each.bind(("", port))


def test_a_server_that_ends_is_told_with_its_log(tmp_path):
    log = tmp_path / "server.log"
    missing = tmp_path / "missing"
    with (
        ServerProcess(missing, "x", log=log) as server,
        pytest.raises(CommandError, match="ended with status 1") as caught,
    ):
        server.wait_until_available()
    assert str(missing) in caught.value.message


def test_a_server_that_was_not_started_can_not_be_stopped(tmp_path):
    with pytest.raises(CommandError, match="was started"):
        ServerProcess(tmp_path, "x", log=tmp_path / "log").stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_work_through_finally_and_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.slow
def test_stop_drains_and_leaves_no_process(repository, tmp_path):
    with ServerProcess(repository / "digits", "digits", log=tmp_path / "log", flags=("--drain_delay_s=0",)) as server:
        server.wait_until_available()
        pid = server.pid
        assert server.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "Drained" in server.log_tail()
