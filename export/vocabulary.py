"""The words of a model's token ids: a text file in the bundle, in the order of Keras' `TextVectorization`.

Line 1 is id 0. `TextVectorization.get_vocabulary()` puts the padding first (an empty line) and the unknown word second
(`[UNK]`); files of other tokenizers spell them `[PAD]`, `<pad>`, `<unk>`. Standard library only: clients import this.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import SourceError

VOCABULARY_FILE = "assets/vocabulary.txt"
PADDING = ("", "[PAD]", "<pad>", "<PAD>")
UNKNOWN = ("[UNK]", "<unk>", "<UNK>", "<oov>", "<OOV>")
# What Keras' TextVectorization takes out by default (`lower_and_strip_punctuation`).
_PUNCTUATION = re.compile(r"[!\"#$%&()\*\+,\-\./:;<=>?@\[\\\]^_`{|}~']")


@dataclass(frozen=True)
class Vocabulary:
    """Words by their ids.

    Args:
        words: The word of id 0, 1, ...
    """

    words: tuple[str, ...]

    @property
    def padding(self) -> int:
        """The id that fills a text up: that of the padding token, 0 where there is none."""
        return next((index for index, word in enumerate(self.words) if word in PADDING), 0)

    @property
    def unknown(self) -> int | None:
        """The id of words that aren't in the vocabulary; None where it has none."""
        return next((index for index, word in enumerate(self.words) if word in UNKNOWN), None)

    def tokens(self, words: Sequence[str]) -> list[int]:
        """Token ids of the words of a text.

        Raises:
            SourceError: A word is unknown, and the vocabulary has no token for such.
        """
        ids = {word: index for index, word in reversed(list(enumerate(self.words)))}
        return [self._id(word, ids.get(word, self.unknown)) for word in words]

    def _id(self, word: str, index: int | None) -> int:
        if index is None:
            raise SourceError(
                f"Expected words of the vocabulary, which has no token for others ({', '.join(UNKNOWN)}). Received: "
                f"{word!r}."
            )
        return index

    def word(self, index: int) -> str:
        """The word of an id; the id itself where the vocabulary ends before it."""
        return self.words[index] if 0 <= index < len(self.words) else str(index)


def split(text: str) -> list[str]:
    """The words of a text as `TextVectorization` splits it by default: lower case, no punctuation, at white space."""
    return _PUNCTUATION.sub("", text.lower()).split()


def read_vocabulary(path: Path) -> Vocabulary:
    """The words of a file, a line each.

    Raises:
        SourceError: It can't be read as UTF-8, or holds no words.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"A vocabulary must be a text file in UTF-8, a word each line. Received: {path}: {error}."
        ) from error
    words = tuple(line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines))
    if not any(words):
        raise SourceError(f"A vocabulary must hold a word each line. Received: {path}, which holds none.")
    return Vocabulary(words)


def write_vocabulary(directory: Path, vocabulary: Vocabulary) -> Path:
    """Write the words into the bundle's folder."""
    path = directory / VOCABULARY_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{word}\n" for word in vocabulary.words), encoding="utf-8")
    return path


def token_input(inputs: Sequence[tuple[str, str]]) -> str:
    """The input that takes token ids.

    Args:
        inputs: Name and dtype of each input.

    Raises:
        SourceError: Not exactly one input is of integers.
    """
    names = [name for name, dtype in inputs if dtype.startswith(("int", "uint"))]
    if len(names) != 1:
        raise SourceError(
            "A vocabulary goes with one input of token ids (integers). Received: a model with the inputs "
            f"{', '.join(f'{name} ({dtype})' for name, dtype in inputs)}."
        )
    return names[0]


def check_vocabulary(vocabulary: Vocabulary, interface: Any, model: Any) -> None:
    """Refuse words that the model has no ids for.

    Args:
        vocabulary: The words.
        interface: The model's interface.
        model: The Keras model.

    Raises:
        SourceError: The model has no single integer input, or its embedding has fewer rows than there are words.
    """
    token_input([(name, spec.dtype.name) for name, spec in interface.inputs.items()])
    sizes = [getattr(layer, "input_dim", None) for layer in model._flatten_layers()]  # noqa: SLF001 - Keras has no public walk through nested layers
    smallest = min((size for size in sizes if isinstance(size, int)), default=None)
    if smallest is not None and len(vocabulary.words) > smallest:
        raise SourceError(
            f"The vocabulary must not hold more words than the model's embedding knows, {smallest}. Received: "
            f"{len(vocabulary.words)} words. Give the file that the model was trained with."
        )
