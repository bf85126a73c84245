"""A file that is only ever appended to, in whole pieces, and set aside when it is large."""

import os
from collections.abc import Callable
from pathlib import Path


class LogFile:
    """Appends to a file; what is written is in the file whole, or not at all.

    What was written survives the end of the process in any way, kill -9 included; a power failure only after `sync`.
    The file is opened again when somebody moved it away (logrotate).

    Args:
        path: The file; its folder must exist.
        max_bytes: Size at which the file is set aside as `PATH.1`, the one before as `PATH.2`, and so on; 0: never.
        max_files: How many are kept in all; the oldest is deleted.
        intact_size: Tells how many bytes of a file that was there before are whole, so that what a writer that died
            left behind its last whole piece can be cut off.

    Raises:
        OSError: The file can't be opened for writing.
    """

    def __init__(
        self, path: Path, *, max_bytes: int = 0, max_files: int = 1, intact_size: Callable[[Path], int] | None = None
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._descriptor = -1
        if intact_size is not None and path.exists() and (size := intact_size(path)) < path.stat().st_size:
            os.truncate(path, size)
        self._open()

    def append(self, content: bytes) -> None:
        """Adds to the end.

        Raises:
            OSError: It could not be written, and nothing of it is in the file.
        """
        if self._moved():
            self._open()
        if self._max_bytes and self._size and self._size + len(content) > self._max_bytes:
            self._rotate()
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(content)

    def sync(self) -> None:
        """Waits until everything written so far is on the disk.

        Raises:
            OSError: It may not be.
        """
        os.fsync(self._descriptor)

    def truncate(self, size: int) -> None:
        """Takes back what was written after `size`."""
        os.ftruncate(self._descriptor, size)
        self._size = size

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    def close(self) -> None:
        """Syncs and closes."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def _moved(self) -> bool:
        try:
            found = os.stat(self.path)  # noqa: PTH116 -- compared with a descriptor's
        except FileNotFoundError:
            return True
        return not os.path.samestat(found, os.fstat(self._descriptor))

    def _rotate(self) -> None:
        os.fsync(self._descriptor)
        for number in range(self._max_files - 1, 0, -1):
            source = self.path if number == 1 else _numbered(self.path, number - 1)
            if source.exists():
                source.replace(_numbered(self.path, number))
        if self._max_files == 1:
            self.path.unlink()
        self._open()


def rotated_files(path: Path) -> list[Path]:
    """A log and what was set aside of it, oldest first."""
    numbered: list[Path] = []
    while (earlier := _numbered(path, len(numbered) + 1)).exists():
        numbered.append(earlier)
    return [*reversed(numbered), *([path] if path.exists() else [])]


def intact_lines(path: Path) -> int:
    """The bytes of a file up to the end of its last whole line."""
    size = path.stat().st_size
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - (1 << 16))
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def last_line(path: Path) -> bytes:
    """The last line of a file that ends with a newline, without it."""
    size = path.stat().st_size
    pieces: list[bytes] = []
    with path.open("rb") as file:
        end = max(0, size - 1)
        while end > 0:
            start = max(0, end - (1 << 16))
            file.seek(start)
            piece = file.read(end - start)
            newline = piece.rfind(b"\n")
            pieces.insert(0, piece[newline + 1 :])
            if newline >= 0:
                break
            end = start
    return b"".join(pieces)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
