"""The audit log: one line for each example that was explained, chained so that a missing line shows."""

import asyncio
import hashlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from serving.errors import Code, ServingError, unavailable
from serving.logs.arrays import array_to_json
from serving.logs.file import LogFile, intact_lines, last_line
from serving.logs.records import utc_text
from serving.logs.requests import open_log
from serving.types import Explanation, ModelSpec

logger = logging.getLogger(__name__)

GENESIS = "0" * 64
"""What the first line gives as its predecessor's digest."""
TARGET, VALUE, GAP = "target", "explained_value", "conservation_gap"
AUDITED_OUTPUTS = (TARGET, VALUE, GAP)

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_MOST_QUEUED = 1024
_MOST_TOGETHER = 256
_MAX_FIRST_LINE = 64 << 20

Arrays = Mapping[str, np.ndarray]
Line = dict[str, Any]


@dataclass(frozen=True)
class Explained:
    """Explanations as they were given.

    Attributes:
        spec: What answered.
        explanation: How its outputs are to be read.
        manifest_digest: SHA-256 of the bundle's `manifest.json`.
        inputs: What was explained, by input.
        outputs: Every output that was computed, those of `AUDITED_OUTPUTS` among them where the signature has them.
        time_s: When, in seconds since 1970.
        request_id: The caller's `x-request-id`, or one that was made up.
        trace_id: The trace it belongs to; empty where there is none.
        client: Name of the client's token; empty where the server asks for none.
    """

    spec: ModelSpec
    explanation: Explanation
    manifest_digest: str
    inputs: Arrays
    outputs: Arrays
    time_s: float
    request_id: str
    trace_id: str = ""
    client: str = ""


class AuditLog:
    """Writes explanations down before they are given: `write` returns once their lines are on the disk.

    Lines of requests that arrive together are synced together, in a thread. Where they can't be written the request
    fails, so that no explanation goes out that the log doesn't hold; predictions are not concerned. The file is never
    set aside: a chain is one file.

    Args:
        path: The file; lines are added to what it holds.
        relevance: Whether the relevance itself is written too.
        count: Told of each explanation's model and how it went.

    Raises:
        StartError: The file can't be written, or holds something else.
    """

    def __init__(self, path: Path, *, relevance: bool, count: Callable[[str, Code], None]) -> None:
        self._file: LogFile = open_log(path, "audit_log", intact_size=intact_lines)
        self._relevance = relevance
        self._count = count
        self._previous = _last_digest(path)
        self._queue: queue.SimpleQueue[tuple[Explained, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._failing = False
        self._thread = threading.Thread(target=self._work, name="audit log", daemon=True)
        self._thread.start()

    async def write(self, explained: Explained) -> None:
        """Writes a line for each example, and waits until it is on the disk.

        Raises:
            ServingError: RESOURCE_EXHAUSTED where the disk is too slow for what is asked, UNAVAILABLE where it is
                full or gone.
        """
        if self._queue.qsize() >= _MOST_QUEUED:
            self._count(explained.spec.name, Code.RESOURCE_EXHAUSTED)
            raise ServingError(Code.RESOURCE_EXHAUSTED, "The audit log can't keep up. Send the request again later.")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((explained, future))
        await asyncio.shield(future)

    def close(self) -> None:
        """Writes what waits; blocks."""
        self._queue.put(None)
        self._thread.join(10.0)

    def _work(self) -> None:
        going_on = True
        while going_on:
            taken = [self._queue.get()]
            while not self._queue.empty() and len(taken) < _MOST_TOGETHER:
                taken.append(self._queue.get())
            going_on = None not in taken
            self._write_all([each for each in taken if each is not None])
        try:
            self._file.close()
        except OSError as error:
            logger.error("%s could not be synced: %s", self._file.path, error)  # noqa: TRY400 -- the reason is enough

    def _write_all(self, taken: Sequence[tuple[Explained, asyncio.Future[None]]]) -> None:
        if not taken:
            return
        start, previous = self._file.size, self._previous
        error: ServingError | None = None
        try:
            pieces = []
            for explained, _ in taken:
                for line in audit_lines(explained, relevance=self._relevance):
                    content = orjson.dumps({**line, "previous": previous}, option=_OPTIONS)
                    previous = hashlib.sha256(content).hexdigest()
                    pieces.append(content + b"\n")
            self._file.append(b"".join(pieces))
            self._file.sync()
            self._previous = previous
            self._failing = False
        except OSError as failure:
            error = self._fail(start, failure.strerror or str(failure))
        except Exception as failure:  # an explanation of a form that nobody thought of must not end the log
            logger.exception("The audit log could not write a line")
            error = self._fail(start, f"{type(failure).__name__}: {failure}")
        for explained, future in taken:
            self._count(explained.spec.name, Code.OK if error is None else error.code)
            _settle(future, error)

    def _fail(self, start: int, reason: str) -> ServingError:
        """Takes back what may have been written of a line: the chain goes on behind the last one that was synced."""
        if not self._failing:
            logger.error("%s can't be written, and nothing is explained until it can: %s", self._file.path, reason)
        self._failing = True
        try:
            self._file.truncate(start)
        except OSError as error:
            logger.error("%s can't be put right: %s", self._file.path, error)  # noqa: TRY400 -- the reason is enough
        return unavailable("The audit log can't be written, so no explanation is given. Predictions are.")


def audit_lines(explained: Explained, *, relevance: bool) -> Iterator[Line]:
    """A line for each example, without its predecessor's digest."""
    spec, outputs = explained.spec, explained.outputs
    labels = explained.explanation.class_labels
    columns = {name: outputs[name].tolist() if name in outputs else None for name in AUDITED_OUTPUTS}
    size = next(iter(explained.inputs.values())).shape[0]
    for index in range(size):
        target, value, gap = (None if column is None else column[index] for column in columns.values())
        line: Line = {
            "time": utc_text(explained.time_s),
            "request_id": explained.request_id,
            "trace_id": explained.trace_id,
            "client": explained.client,
            "model": spec.name,
            "version": spec.version,
            "signature": spec.signature_name,
            "manifest_sha256": explained.manifest_digest,
            "composite": explained.explanation.composite,
            "target": target,
            "class_label": labels[target] if target is not None and 0 <= target < len(labels) else None,
            "explained_value": value,
            "conservation_gap": gap,
            "inputs_sha256": digest_inputs({name: array[index] for name, array in explained.inputs.items()}),
        }
        if relevance:
            names = explained.explanation.relevance.values()
            line["relevance"] = {name: array_to_json(outputs[name][index]) for name in names if name in outputs}
        yield line


def digest_inputs(example: Arrays) -> str:
    """SHA-256 of one example: for each input by name its name, dtype and shape, and its bytes in little-endian order.

    Whoever holds the example can work it out again, and so show that it is the one explained. `target` is not an
    input of the model, and is left out.
    """
    digest = hashlib.sha256()
    for name in sorted(example):
        if name == TARGET:
            continue
        array = np.asarray(example[name])
        digest.update(f"{name}\0{array.dtype.name}\0{list(array.shape)}\0".encode())
        if array.dtype == object:
            for item in array.ravel().tolist():
                digest.update(len(item).to_bytes(8, "little"))
                digest.update(item)
        else:
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class AuditReport:
    """What was found in an audit log.

    Attributes:
        num_lines: Lines read, up to the first that is wrong.
        last_digest: Digest of the last of them. Kept somewhere else, it shows later whether lines at the end are gone,
            which the chain alone can't.
        error: What is wrong, and in which line; empty where nothing is.
    """

    num_lines: int
    last_digest: str
    error: str = ""


def is_audit_log(path: Path) -> bool:
    """Whether a file holds what looks like an audit log, by its first line."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        try:
            line = orjson.loads(file.readline(_MAX_FIRST_LINE))
        except ValueError:
            return False
    return isinstance(line, dict) and {"previous", "inputs_sha256"} <= line.keys()


def verify_audit_log(path: Path) -> AuditReport:
    """Follows the chain: a line that was changed, taken out, put in or moved breaks it.

    Raises:
        OSError: The file can't be read.
    """
    with path.open("rb") as file:
        return _follow(file)


def _follow(lines: Iterable[bytes]) -> AuditReport:
    previous, number = GENESIS, 0
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            return AuditReport(number - 1, previous, f"Line {number} is cut off.")
        try:
            stated = orjson.loads(line)["previous"]
        except (ValueError, KeyError, TypeError):
            return AuditReport(number - 1, previous, f"Line {number} is no line of an audit log.")
        if stated != previous:
            return AuditReport(
                number - 1,
                previous,
                f"Line {number} must follow the line with digest {previous}. Received: {stated}. A line before it was "
                "changed, taken out or put in.",
            )
        previous = hashlib.sha256(line[:-1]).hexdigest()
    return AuditReport(number, previous)


def _last_digest(path: Path) -> str:
    last = last_line(path)
    return hashlib.sha256(last).hexdigest() if last else GENESIS


def _settle(future: "asyncio.Future[None]", error: ServingError | None) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(ServingError(error.code, error.message))
            future.exception()  # marked as seen: whoever asked may have left

    try:
        future.get_loop().call_soon_threadsafe(settle)
    except RuntimeError:
        logger.debug("The server ended before an audit line was acknowledged")
