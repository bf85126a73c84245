import threading
import time
from collections import Counter
from pathlib import Path

from serving.errors import Code
from serving.logs.file import LogFile
from serving.logs.writer import LogWriter
from tests.serving.logs.test_file import at_most


class Counts(Counter[Code]):
    def __call__(self, _item: bytes, code: Code) -> None:
        self[code] += 1


def wait_until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def plain(item: bytes) -> bytes:
    return item


def test_records_are_written_in_their_order(tmp_path):
    counts = Counts()
    writer = LogWriter(LogFile(tmp_path / "log"), plain, count=counts)
    for number in range(1000):
        writer.put(b"%d\n" % number, 4)
    writer.close()
    assert (tmp_path / "log").read_bytes() == b"".join(b"%d\n" % number for number in range(1000))
    assert counts == {Code.OK: 1000}


def test_a_record_too_many_is_dropped_and_counted_and_nobody_waits(tmp_path):
    counts, gate = Counts(), threading.Event()

    def held(item: bytes) -> bytes:
        gate.wait(10)
        return item

    writer = LogWriter(LogFile(tmp_path / "log"), held, count=counts, max_queued_bytes=100)
    started = time.perf_counter()
    for _ in range(50):
        writer.put(b"x\n", 10)
    assert time.perf_counter() - started < 1
    assert counts[Code.RESOURCE_EXHAUSTED] == 39, "eleven are taken: the eleventh finds exactly 100 bytes waiting"
    gate.set()
    writer.close()
    assert counts[Code.OK] == 11
    assert (tmp_path / "log").read_bytes() == b"x\n" * 11


def test_a_full_disk_is_logged_once_counted_and_got_over(tmp_path, caplog):
    path, counts = tmp_path / "log", Counts()
    writer = LogWriter(LogFile(path), plain, count=counts)
    writer.put(b"first\n", 6)
    wait_until(lambda: counts[Code.OK] == 1)
    with at_most(8):
        for number in range(1, 4):
            writer.put(b"lost %d\n" % number, 7)
            wait_until(lambda number=number: counts[Code.UNAVAILABLE] == number)
    writer.put(b"again\n", 6)
    writer.close()
    assert path.read_bytes() == b"first\nagain\n"
    assert counts == {Code.OK: 2, Code.UNAVAILABLE: 3}
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "can't be written: File too large. Requests are answered all the same" in caplog.text


def test_a_device_without_space_is_the_same(caplog):
    counts = Counts()
    writer = LogWriter(LogFile(Path("/dev/full")), plain, count=counts)
    writer.put(b"lost\n", 5)
    wait_until(lambda: counts[Code.UNAVAILABLE] == 1)
    writer.close()
    assert "/dev/full can't be written" in caplog.text


def test_a_record_that_cannot_be_encoded_does_not_end_the_log(tmp_path, caplog):
    counts = Counts()
    writer = LogWriter(LogFile(tmp_path / "log"), lambda item: item.encode(), count=counts)
    writer.put(b"bytes have no encode", 1)
    writer.put("text", 1)
    writer.close()
    assert (tmp_path / "log").read_bytes() == b"text"
    assert counts == {Code.INTERNAL: 1, Code.OK: 1}
    assert "AttributeError" in caplog.text
