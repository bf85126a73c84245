"""The request log: a sample of what the models were asked, and what they answered."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.config.models import RequestLogging
from serving.errors import Code, StartError
from serving.logs.file import LogFile, intact_lines
from serving.logs.records import Record, to_json_line, to_prediction_log
from serving.logs.writer import LogWriter
from serving.metrics import Metrics
from serving.tfrecord import encode_record, intact_size

TFRECORD, JSON_LINES = "tfrecord", "jsonl"
_TFRECORD_SUFFIXES = (".tfrecord", ".tfrecords")


@dataclass(frozen=True)
class RequestLogOptions:
    """How request logs are written.

    Attributes:
        path: The server's log, or None where only models with a log of their own are logged.
        format: `jsonl` or `tfrecord`; empty: by the path's suffix.
        sampling_rate: Share of the requests that is logged, in [0, 1], for models that don't say themselves.
        max_bytes: Size at which a log is set aside; 0: never.
        max_files: How many files of a log are kept, the current one among them.
    """

    path: Path | None = None
    format: str = ""
    sampling_rate: float = 1.0
    max_bytes: int = 0
    max_files: int = 1


class RequestLog:
    """Logs requests; no request ever waits for it, or fails because of it. Belongs to the event loop's thread.

    Args:
        options: How.
        metrics: Where records are counted.
        config_of: A model's own `logging_config`, or None where it has none. Its `filename_prefix` and the suffix
            `.tfrecord` (`.jsonl` where its `kind` is `jsonl`) name a log of its own; without one its records go into
            the server's log.

    Raises:
        StartError: The log can't be written.
    """

    def __init__(
        self,
        options: RequestLogOptions,
        metrics: Metrics,
        *,
        config_of: Callable[[str], RequestLogging | None] = lambda _: None,
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._config_of = config_of
        self._random = random.Random()  # noqa: S311 -- a sample, not a secret
        self._writers: dict[Path, LogWriter[Record]] = {}
        if options.path is not None:
            self._writer(options.path, options.format or format_of(options.path))

    def samples(self, model: str) -> float:
        """Whether the next request of a model is logged: the sampling rate where it is, else 0."""
        config = self._config_of(model)
        rate = self._options.sampling_rate if config is None else config.sampling_rate
        if self._options.path is None and (config is None or not config.filename_prefix):
            return 0.0
        return rate if rate > 0 and self._random.random() < rate else 0.0

    def put(self, record: Record) -> None:
        """Logs a request. A log in TFRecord holds only what succeeded: its readers replay it."""
        config, path, form = self._config_of(record.spec.name), self._options.path, self._options.format
        if config is not None and config.filename_prefix:
            form = JSON_LINES if config.kind == JSON_LINES else TFRECORD
            path = Path(f"{config.filename_prefix}.{form}")
        if path is None:
            return
        form = form or format_of(path)
        if form == TFRECORD and record.code != Code.OK:
            return
        try:
            writer = self._writer(path, form)
        except StartError:
            self._metrics.observe_log("request", record.spec.name, Code.UNAVAILABLE)
            return
        writer.put(record, record.num_bytes())

    def close(self) -> None:
        """Writes what waits; blocks."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, path: Path, form: str) -> LogWriter[Record]:
        writer = self._writers.get(path)
        if writer is None:
            file = open_log(
                path,
                "request_log",
                max_bytes=self._options.max_bytes,
                max_files=self._options.max_files,
                intact_size=intact_size if form == TFRECORD else intact_lines,
            )
            encode = _encode_tfrecord if form == TFRECORD else to_json_line
            writer = self._writers[path] = LogWriter(file, encode, count=self._count)
        return writer

    def _count(self, record: Record, code: Code) -> None:
        self._metrics.observe_log("request", record.spec.name, code)


def format_of(path: Path) -> str:
    """The format of a log by its name: `PATH.tfrecord`, set aside as `PATH.tfrecord.1`, is TFRecord."""
    name = path.with_suffix("").name if path.suffix[1:].isdigit() else path.name
    return TFRECORD if name.endswith(_TFRECORD_SUFFIXES) else JSON_LINES


def open_log(
    path: Path, option: str, *, max_bytes: int = 0, max_files: int = 1, intact_size: Callable[[Path], int]
) -> LogFile:
    """Opens a log for appending.

    Raises:
        StartError: It can't be.
    """
    try:
        return LogFile(path, max_bytes=max_bytes, max_files=max_files, intact_size=intact_size)
    except OSError as error:
        raise StartError(
            f"`{option}` must be a file that can be written, in a folder that exists. Received: {path}: "
            f"{error.strerror or error}."
        ) from error


def _encode_tfrecord(record: Record) -> bytes:
    return encode_record(to_prediction_log(record))
