"""What `predict` and `explain` share: their options, the model asked, and how an answer reads."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from export.vocabulary import read_vocabulary
from whyserve.client.access import Access
from whyserve.client.base import Answer, Attribution, Client, ModelDescription, label_of
from whyserve.errors import CommandError
from whyserve.inputs.fit import Examples
from whyserve.inputs.read import read_examples
from whyserve.inputs.text import read_texts
from whyserve.output import progress

DEFAULT_URL = "http://localhost:8501"
TOKEN_VARIABLE = "WHYSERVE_TOKEN"  # noqa: S105 -- the name of one

OPTIONS = (
    click.argument("name"),
    click.option(
        "--input",
        "file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Examples: .npy, .npz, .json (a TensorFlow Serving body or a list), .csv rows, or a picture.",
    ),
    click.option(
        "--text",
        "texts",
        multiple=True,
        help="A text as an example, for models of token ids; may be given several times.",
    ),
    click.option(
        "--vocabulary",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The words of the model's token ids, a line each; a bundle that was exported with them has its own.",
    ),
    click.option(
        "--url",
        default=DEFAULT_URL,
        show_default=True,
        help="The server: http://HOST:PORT for REST, grpc://HOST:PORT for gRPC; https:// and grpcs:// with TLS.",
    ),
    click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file with the bearer token that the server asks for; by default the variable WHYSERVE_TOKEN.",
    ),
    click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="PEM certificates of who signed the server's; by default those that this machine trusts.",
    ),
    click.option(
        "--cert-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The client's own PEM certificate, with its key unless that is in --key-file, for mutual TLS.",
    ),
    click.option("--key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its PEM key."),
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
    file: Path | None
    texts: tuple[str, ...]
    vocabulary: Path | None
    url: str
    token_file: Path | None
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
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
    if (question.file is None) == (not question.texts):
        raise click.UsageError(
            "Expected `--input FILE` or `--text TEXT`: one of them says what the model is asked about."
        )
    client = _connect(question)
    try:
        description = client.describe()
        if description.name != question.name:
            raise CommandError(f"Expected the model's own name, '{description.name}'. Received: '{question.name}'")
        if question.vocabulary is not None:
            description = replace(description, vocabulary=read_vocabulary(question.vocabulary))
        examples = _examples(question, description).head(question.limit)
        for note in examples.notes:
            progress(note)
        yield client, description, examples
    finally:
        client.close()


def _examples(question: Question, description: ModelDescription) -> Examples:
    if question.file is not None:
        return read_examples(question.file, description.inputs, pixel_max=question.pixel_max)
    return read_texts(question.texts, description.inputs, description.vocabulary)


def _connect(question: Question) -> Client:
    """The client that fits the options; each imports its transport, so only the one that is needed is loaded."""
    if question.bundle is not None:
        if question.version is not None:
            raise click.UsageError(
                "`--version` chooses a version of a server. With `--bundle`, name the version's folder."
            )
        from whyserve.client.bundle import BundleClient

        return BundleClient(question.bundle)
    scheme, separator, address = question.url.partition("://")
    access, version, timeout_s = _access(question), question.version, question.timeout_s
    if separator and scheme in ("grpc", "grpcs"):
        from whyserve.client.grpc import GrpcClient

        return GrpcClient(
            address, question.name, version=version, timeout_s=timeout_s, tls=scheme == "grpcs", access=access
        )
    if not separator or scheme not in ("http", "https"):
        raise click.UsageError(
            f"Expected --url http://HOST:PORT or grpc://HOST:PORT, or https:// or grpcs://. Received: {question.url}"
        )
    from whyserve.client.rest import RestClient

    return RestClient(question.url, question.name, version=version, timeout_s=timeout_s, access=access)


def _access(question: Question) -> Access:
    token = os.environ.get(TOKEN_VARIABLE)
    if question.token_file is not None:
        token = question.token_file.read_text().strip()
    return Access(token or None, question.ca_file, question.cert_file, question.key_file)


@dataclass(frozen=True)
class Reading:
    """One example's prediction, for people: a class with its probability, or a value."""

    label: str
    probability: float | None
    index: int | None


def readings(answer: Answer, class_labels: Sequence[str] = (), output: str = "") -> list[Reading]:
    """What the model says of each example, from one of its outputs.

    Args:
        answer: What the model answered.
        class_labels: Labels by index, where they are known.
        output: The output's name; the first one by default.

    Returns:
        For scores of several classes the highest; for one number an example that number.
    """
    rows = answer.outputs[output] if output else next(iter(answer.outputs.values()))
    return [_reading(np.asarray(row), class_labels) for row in rows]


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


@dataclass(frozen=True)
class Explained:
    """What an attribution explains, for people.

    Args:
        label: A class, one class "rather than" another, or the name of an output that has a single value.
        unit: Unit of the explained value in a sentence; empty for the value of a regression.
        scale: What relevance is measured in: `logit`, `score`, or the name of the output.
        is_value: The output itself is explained, and is a single number: a regression.
    """

    label: str
    unit: str
    scale: str
    is_value: bool


def explained_as(answer: Answer) -> list[list[Explained]]:
    """How each attribution of each example reads.

    Whether the output itself was explained or the logit below it shows in the numbers, which metadata of a server don't
    tell: it was where every explained value is the output's.

    Args:
        answer: Outputs and attributions.
    """
    pairs = [_explained_and_output(answer, number, one) for number, one in _numbered(answer)]
    telling = [(explained, output) for explained, output in pairs if explained or output]
    values, outputs = np.array(telling).reshape(-1, 2).T
    is_output = bool(telling) and bool(np.allclose(values, outputs, rtol=1e-4, atol=1e-6))
    return [[_explained(answer, number, one, is_output=is_output) for one in attributions]
            for number, attributions in enumerate(answer.attributions)]  # fmt: skip


def _numbered(answer: Answer) -> Iterator[tuple[int, Attribution]]:
    for number, attributions in enumerate(answer.attributions):
        for one in attributions:
            yield number, one


def _scores(answer: Answer, number: int, one: Attribution) -> np.ndarray:
    return np.ravel(answer.outputs[one.output][number]) if one.output in answer.outputs else np.empty(0)


def _explained_and_output(answer: Answer, number: int, one: Attribution) -> tuple[float, float]:
    """The explained value, and what the output itself says of the same targets; NaN where that isn't known."""
    scores = _scores(answer, number, one)
    indices = [one.index] if one.contrast_index is None else [one.index, one.contrast_index]
    if not all(0 <= index < scores.size for index in indices):
        return one.value, np.nan
    first, *second = (float(scores[index]) for index in indices)
    return one.value, first - sum(second)


def _explained(answer: Answer, number: int, one: Attribution, *, is_output: bool) -> Explained:
    single = _scores(answer, number, one).size == 1
    if single and one.output and one.label == str(one.index):  # no class has a label of its own
        unit = "" if is_output else "logit"
        return Explained(one.output, unit, unit or one.output, is_value=is_output)
    label = one.label if one.contrast_index is None else f"{one.label} rather than {one.contrast}"
    unit = "score" if is_output else "logit"
    return Explained(label, unit, unit, is_value=False)


def true_label(label: str, class_labels: Sequence[str]) -> str:
    """The label of a true class: data sets give its index, where the model may know its name."""
    if label in class_labels or not label.isdecimal():
        return label
    return label_of(int(label), class_labels)


def percent(probability: float | None) -> str | None:
    """A probability as people read it, as in "99.1 %"."""
    return None if probability is None else f"{100 * probability:.1f} %"


def where(client: Client, answer: Answer) -> str:
    """Who answered, as in "digits, version 1, http://localhost:8501"."""
    version = "" if answer.version is None else f", version {answer.version}"
    return f"{answer.model}{version}, {client.place}"
