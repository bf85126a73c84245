"""Texts as a model's token ids."""

from collections.abc import Mapping, Sequence

import numpy as np

from export.errors import SourceError
from export.vocabulary import Vocabulary, split, token_input
from serving.types import TensorInfo
from whyserve.errors import CommandError
from whyserve.inputs.fit import Examples, only_input


def read_texts(texts: Sequence[str], specs: Mapping[str, TensorInfo], vocabulary: Vocabulary | None) -> Examples:
    """Texts as a batch: split into words, looked up, and filled up to one length with the padding's id.

    A model of texts as they are (strings) gets them as they are.

    Args:
        texts: One for each example.
        specs: The model's inputs by name; one, `(batch, length)`.
        vocabulary: The words of its token ids; not needed for strings.

    Returns:
        The batch, with a note of what was cut off or isn't in the vocabulary.

    Raises:
        CommandError: The model takes no text, there is no vocabulary, or a text has no words.
    """
    spec = only_input(specs, "A text")
    if spec.dtype == object:
        return _strings(texts, spec)
    if vocabulary is None:
        raise CommandError(
            "A text needs the words of the model's token ids: export with `--vocabulary FILE`, or give it here."
        )
    try:
        token_input([(spec.name, spec.dtype.name)])
        words = [split(text) for text in texts]
        ids = [vocabulary.tokens(each) for each in words]
    except SourceError as error:
        raise CommandError(str(error)) from error
    if spec.shape is None or len(spec.shape) != 2 or not all(ids):
        raise CommandError(
            "Expected texts of one word or more, and a model of token ids (batch, length). Received: "
            f"{list(texts)!r} for input '{spec.name}' of shape {spec.shape}"
        )
    longest = max(map(len, ids))
    length = longest if spec.shape[1] is None else spec.shape[1]
    batch = np.full((len(ids), length), vocabulary.padding, spec.dtype)
    for row, tokens in zip(batch, ids, strict=True):
        row[: len(tokens)] = tokens[:length]
    kept = tuple(tuple(each[:length]) for each in words)
    return Examples({spec.name: batch}, notes=_notes(ids, length, vocabulary), words=kept)


def _strings(texts: Sequence[str], spec: TensorInfo) -> Examples:
    array = np.array([text.encode() for text in texts], object)
    return Examples({spec.name: array if spec.shape is None or len(spec.shape) == 1 else array[:, None]})


def _notes(ids: Sequence[Sequence[int]], length: int, vocabulary: Vocabulary) -> tuple[str, ...]:
    notes = [
        f"text {number}: {len(tokens)} words, of which the model takes the first {length}"
        for number, tokens in enumerate(ids)
        if len(tokens) > length
    ]
    unknown = sum(token == vocabulary.unknown for tokens in ids for token in tokens)
    if unknown:
        notes.append(f"{unknown} of {sum(map(len, ids))} words are not in the vocabulary")
    return tuple(notes)
