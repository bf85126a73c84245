"""A thread that writes records to a file, so that no request waits for a disk."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from serving.errors import Code
from serving.logs.file import LogFile

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

GATHER_S = 0.02
"""How long records are gathered before they are written together: a thread that wakes up for each one takes the
interpreter from the requests each time."""
_MAX_PIECE = 1 << 20


class LogWriter(Generic[Item]):
    """Takes records without ever waiting, and writes them in a thread of its own.

    A record is dropped, and counted, where more than `max_queued_bytes` wait, or where the disk is full or gone: the
    first failure is logged, and the first success after it.

    Args:
        file: Where the records go; belongs to the writer from now on.
        encode: Turns a record into bytes, in the writer's thread.
        count: Told of each record that was written (OK), found too many (RESOURCE_EXHAUSTED), could not be written
            (UNAVAILABLE) or could not be encoded (INTERNAL).
        max_queued_bytes: Bound of the memory that records take while they wait.
    """

    def __init__(
        self,
        file: LogFile,
        encode: Callable[[Item], bytes],
        *,
        count: Callable[[Item, Code], None],
        max_queued_bytes: int = 64 << 20,
    ) -> None:
        self._file = file
        self._encode = encode
        self._count = count
        self._max_queued_bytes = max_queued_bytes
        self._queue: queue.SimpleQueue[tuple[Item, int] | None] = queue.SimpleQueue()
        self._bytes_put = 0  # by those who put
        self._bytes_taken = 0  # by the thread
        self._closed = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._work, name=f"log {file.path.name}", daemon=True)
        self._thread.start()

    def put(self, item: Item, size: int) -> None:
        """Takes a record of about so many bytes; one thread may call this."""
        if self._closed.is_set() or self._bytes_put - self._bytes_taken > self._max_queued_bytes:
            self._count(item, Code.RESOURCE_EXHAUSTED)
            return
        self._bytes_put += size
        self._queue.put((item, size))

    def close(self, timeout_s: float = 10.0) -> None:
        """Writes what waits, and closes the file; blocks."""
        self._closed.set()
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        going_on = True
        while going_on:
            taken = [self._queue.get()]
            if not self._closed.is_set():
                time.sleep(GATHER_S)
            while not self._queue.empty():
                taken.append(self._queue.get())
            going_on = None not in taken
            self._write_all([each for each in taken if each is not None])
        try:
            self._file.close()
        except OSError as error:
            logger.error("%s could not be synced: %s", self._file.path, error)  # noqa: TRY400 -- the reason is enough

    def _write_all(self, taken: Sequence[tuple[Item, int]]) -> None:
        """Writes in pieces of about a megabyte: on a full disk as much is kept as fits."""
        piece: list[tuple[Item, bytes]] = []
        for item, size in taken:
            try:
                piece.append((item, self._encode(item)))
            except Exception:  # a record of a form that nobody thought of must not end the log
                logger.exception("A record of %s could not be written down and is left out", self._file.path)
                self._count(item, Code.INTERNAL)
            self._bytes_taken += size
            if sum([len(content) for _, content in piece]) > _MAX_PIECE:
                self._write(piece)
                piece = []
        if piece:
            self._write(piece)

    def _write(self, piece: Sequence[tuple[Item, bytes]]) -> None:
        try:
            self._file.append(b"".join([content for _, content in piece]))
        except OSError as error:
            if not self._failing:
                logger.error(  # noqa: TRY400 -- the reason is enough
                    "%s can't be written: %s. Requests are answered all the same; what the log lacks is counted in "
                    "whyserve_log_records_total",
                    self._file.path,
                    error.strerror or error,
                )
            self._failing = True
            code = Code.UNAVAILABLE
        else:
            if self._failing:
                logger.warning("%s is written again", self._file.path)
            self._failing = False
            code = Code.OK
        for item, _ in piece:
            self._count(item, code)
