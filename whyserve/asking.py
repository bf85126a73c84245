"""What `predict` and `explain` share: their options, the model asked, and how an answer reads."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from whyserve.client.base import Answer, Client, ModelDescription, label_of
from whyserve.errors import CommandError
from whyserve.inputs.fit import Examples
from whyserve.inputs.read import read_examples
from whyserve.output import progress

DEFAULT_URL = "http://localhost:8501"
GRPC_SCHEME = "grpc://"

OPTIONS = (
    click.argument("name"),
    click.option(
        "--input",
        "file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        required=True,
        help="Examples: .npy, .npz, .json (a TensorFlow Serving body or a list), .csv rows, or a picture.",
    ),
    click.option(
        "--url",
        default=DEFAULT_URL,
        show_default=True,
        help="The server: http://HOST:PORT for REST, grpc://HOST:PORT for gRPC.",
    ),
    click.option(
        "--bundle",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Ask this bundle, without a server.",
    ),
    click.option("--version", "version", type=click.IntRange(min=0), help="The version to ask; the newest by default."),
    click.option("--limit", type=click.IntRange(min=1), help="Take the first examples of the file only."),
    click.option(
        "--pixel-max",
        type=click.FloatRange(min=0, min_open=True),
        default=255.0,
        show_default=True,
        help="Pictures: the value of a full pixel that the model was trained on (16 for `digits`).",
    ),
    click.option(
        "--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
        help="Seconds that one answer may take.",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """Which model is asked, where, and about what."""

    name: str
    file: Path
    url: str
    bundle: Path | None
    version: int | None
    limit: int | None
    pixel_max: float
    timeout_s: float


def question_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options above as one argument `question`."""

    @functools.wraps(command)
    def wrapper(**options: Any) -> Any:
        question = Question(**{name: options.pop(name) for name in Question.__dataclass_fields__})
        return command(question=question, **options)

    for option in reversed(OPTIONS):
        wrapper = option(wrapper)
    return wrapper


@contextmanager
def asked(question: Question) -> Iterator[tuple[Client, ModelDescription, Examples]]:
    """The model, what it is, and the examples in its shapes; connections are closed at the end."""
    client = _connect(question)
    try:
        description = client.describe()
        if description.name != question.name:
            raise CommandError(f"Expected the model's own name, '{description.name}'. Received: '{question.name}'")
        examples = read_examples(question.file, description.inputs, pixel_max=question.pixel_max).head(question.limit)
        for note in examples.notes:
            progress(note)
        yield client, description, examples
    finally:
        client.close()


def _connect(question: Question) -> Client:
    """The client that fits the options; each imports its transport, so only the one that is needed is loaded."""
    if question.bundle is not None:
        if question.version is not None:
            raise click.UsageError(
                "`--version` chooses a version of a server. With `--bundle`, name the version's folder."
            )
        from whyserve.client.bundle import BundleClient

        return BundleClient(question.bundle)
    if question.url.startswith(GRPC_SCHEME):
        from whyserve.client.grpc import GrpcClient

        address = question.url.removeprefix(GRPC_SCHEME)
        return GrpcClient(address, question.name, version=question.version, timeout_s=question.timeout_s)
    if not question.url.startswith(("http://", "https://")):
        raise click.UsageError(f"Expected --url http://HOST:PORT or grpc://HOST:PORT. Received: {question.url}")
    from whyserve.client.rest import RestClient

    return RestClient(question.url, question.name, version=question.version, timeout_s=question.timeout_s)


@dataclass(frozen=True)
class Reading:
    """One example's prediction, for people: a class with its probability, or a value."""

    label: str
    probability: float | None
    index: int | None


def readings(answer: Answer, class_labels: Sequence[str] = ()) -> list[Reading]:
    """What the model says of each example, from its first output.

    Args:
        answer: What the model answered.
        class_labels: Labels by index, where they are known.

    Returns:
        For scores of several classes the highest; for one number an example that number.
    """
    return [_reading(np.asarray(row), class_labels) for row in next(iter(answer.outputs.values()))]


def _reading(scores: np.ndarray, class_labels: Sequence[str]) -> Reading:
    if scores.ndim == 1 and scores.size > 1 and scores.dtype.kind == "f":
        index = int(scores.argmax())
        is_distribution = scores.min() >= 0 and abs(float(scores.sum()) - 1) < 1e-3
        return Reading(label_of(index, class_labels), float(scores[index]) if is_distribution else None, index)
    if scores.size == 1:
        return Reading(f"{scores.item():.6g}" if scores.dtype.kind == "f" else _text(scores.item()), None, None)
    return Reading(np.array2string(scores, precision=4, threshold=8), None, None)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def percent(probability: float | None) -> str | None:
    """A probability as people read it, as in "99.1 %"."""
    return None if probability is None else f"{100 * probability:.1f} %"


def refuse_combination(target: int, top_k: int) -> None:
    """`--target` and `--top-k` exclude each other."""
    if target >= 0 and top_k > 1:
        raise click.UsageError(
            "Expected `--target` or `--top-k`, not both: one names the class, the other takes the best."
        )


def where(client: Client, answer: Answer) -> str:
    """Who answered, as in "digits, version 1, http://localhost:8501"."""
    version = "" if answer.version is None else f", version {answer.version}"
    return f"{answer.model}{version}, {client.place}"
