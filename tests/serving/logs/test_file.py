import contextlib
import errno
import resource

import pytest

from serving.logs.file import LogFile, intact_lines, last_line, rotated_files
from serving.tfrecord import encode_record, intact_size


@contextlib.contextmanager
def at_most(num_bytes: int):
    """A file that would grow past this can't: the kernel writes what fits and refuses the rest, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_appended_is_there_at_once(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    file = LogFile(path)
    file.append(b"one\n")
    assert path.read_bytes() == b"before\none\n"
    file.close()


def test_a_piece_that_does_not_fit_leaves_nothing_behind(tmp_path):
    path = tmp_path / "log"
    file = LogFile(path)
    file.append(b"x" * 10)
    with at_most(15), pytest.raises(OSError, match="too large") as raised:
        file.append(b"y" * 10)
    assert raised.value.errno == errno.EFBIG
    assert path.read_bytes() == b"x" * 10
    file.append(b"z")
    assert path.read_bytes() == b"x" * 10 + b"z"
    file.close()


def test_a_large_file_is_set_aside_and_the_oldest_goes(tmp_path):
    path = tmp_path / "log"
    file = LogFile(path, max_bytes=10, max_files=3)
    for each in (b"1" * 6, b"2" * 4, b"3" * 6, b"4" * 20, b"5", b"6" * 10):
        file.append(each)
    file.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert [each.read_bytes() for each in rotated_files(path)] == [b"4" * 20, b"5", b"6" * 10]


def test_a_single_file_starts_anew(tmp_path):
    path = tmp_path / "log"
    file = LogFile(path, max_bytes=3, max_files=1)
    file.append(b"ab")
    file.append(b"cd")
    file.close()
    assert path.read_bytes() == b"cd"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_was_moved_away_is_opened_again(tmp_path):
    path = tmp_path / "log"
    file = LogFile(path)
    file.append(b"one\n")
    path.rename(tmp_path / "archive")
    file.append(b"two\n")
    file.close()
    assert path.read_bytes() == b"two\n"
    assert (tmp_path / "archive").read_bytes() == b"one\n"


@pytest.mark.parametrize(
    ("whole", "torn", "size"),
    [(b"{}\n{}\n", b'{"a', intact_lines), (encode_record(b"a" * 100), encode_record(b"b")[:-1], intact_size)],
    ids=["lines", "tfrecord"],
)
def test_what_a_killed_writer_left_behind_is_cut_off(tmp_path, whole, torn, size):
    path = tmp_path / "log"
    path.write_bytes(whole + torn)
    LogFile(path, intact_size=size).close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("length", [0, 5, 1 << 16, 200_000])
def test_the_last_line_is_found_whatever_its_length(tmp_path, length):
    path = tmp_path / "log"
    line = b"x" * length
    path.write_bytes(b"first\n" * 3 + line + b"\n")
    assert last_line(path) == line
    path.write_bytes(line + b"\n" if length else b"")
    assert last_line(path) == line
