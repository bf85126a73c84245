import numpy as np
import pytest

from export.vocabulary import Vocabulary
from serving.types import TensorInfo
from whyserve.errors import CommandError
from whyserve.inputs.text import read_texts

WORDS = Vocabulary(("", "[UNK]", "a", "good", "film"))


def spec(*shape, dtype="int32"):
    return {"tokens": TensorInfo("tokens", np.dtype(dtype), shape)}


def test_texts_become_ids_of_one_length():
    examples = read_texts(["A good film!", "film"], spec(None, None), WORDS)
    assert examples.inputs["tokens"].tolist() == [[2, 3, 4], [4, 0, 0]]
    assert examples.inputs["tokens"].dtype == np.int32
    assert examples.words == (("a", "good", "film"), ("film",))
    assert examples.notes == ()


def test_a_fixed_length_is_filled_up_or_cut_off_and_told():
    examples = read_texts(["a good film", "wow"], spec(None, 2), WORDS)
    assert examples.inputs["tokens"].tolist() == [[2, 3], [1, 0]]
    assert examples.words == (("a", "good"), ("wow",))
    assert examples.notes == (
        "text 0: 3 words, of which the model takes the first 2",
        "1 of 4 words are not in the vocabulary",
    )


def test_a_model_of_strings_gets_the_text_as_it_is():
    assert read_texts(["A film"], spec(None, 1, dtype="object"), None).inputs["tokens"].tolist() == [[b"A film"]]
    assert read_texts(["A film"], spec(None, dtype="object"), None).inputs["tokens"].tolist() == [b"A film"]


@pytest.mark.parametrize(
    ("texts", "specs", "words", "text"),
    [
        (["a"], spec(None, None), None, "needs the words of the model's token ids: export with `--vocabulary FILE`"),
        (["a"], spec(None, 3, dtype="float32"), WORDS, "one input of token ids"),
        (["..."], spec(None, None), WORDS, "texts of one word or more"),
        (["a"], spec(None, 2, 2), WORDS, "a model of token ids"),
        (["b"], spec(None, None), Vocabulary(("a",)), "Received: 'b'"),
        (["a"], {**spec(None, 2), "mask": TensorInfo("mask", np.dtype(bool), (None, 2))}, WORDS, "takes 2"),
    ],
)
def test_what_is_no_text_for_the_model_is_refused(texts, specs, words, text):
    with pytest.raises(CommandError, match=text):
        read_texts(texts, specs, words)
