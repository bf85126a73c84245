from pathlib import Path

import pytest

from export.errors import SourceError
from export.interface import model_interface
from export.vocabulary import (
    VOCABULARY_FILE,
    Vocabulary,
    check_vocabulary,
    read_vocabulary,
    split,
    token_input,
    write_vocabulary,
)
from tests.export import models

WORDS = Vocabulary(("", "[UNK]", "a", "good", "film"))


def test_texts_are_split_as_text_vectorization_splits_them() -> None:
    import keras

    text = "It's a GOOD film, isn't it?  -- (really)\tso_so 3.5!"
    layer = keras.layers.TextVectorization()
    layer.adapt([text])
    known = layer.get_vocabulary()
    assert Vocabulary(tuple(known)).tokens(split(text)) == layer([text]).numpy()[0].tolist()


def test_words_have_the_ids_of_their_lines_and_others_that_of_the_unknown() -> None:
    assert WORDS.tokens(["film", "a", "wow"]) == [4, 2, 1]
    assert (WORDS.padding, WORDS.unknown) == (0, 1)
    assert (WORDS.word(3), WORDS.word(9), WORDS.word(-1)) == ("good", "9", "-1")


def test_other_spellings_of_padding_and_unknown_are_known() -> None:
    words = Vocabulary(("the", "<unk>", "<pad>"))
    assert (words.padding, words.unknown) == (2, 1)


def test_an_unknown_word_without_a_token_for_it_is_refused() -> None:
    with pytest.raises(SourceError, match=r"no token for others \(\[UNK\].*Received: 'wow'"):
        Vocabulary(("a", "b")).tokens(["a", "wow"])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path, WORDS)
    assert path == tmp_path / VOCABULARY_FILE
    assert read_vocabulary(path) == WORDS


def test_lines_may_end_as_on_windows_and_the_last_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"\r\n[UNK]\r\na\r\nb")
    assert read_vocabulary(tmp_path / "words.txt").words == ("", "[UNK]", "a", "b")


@pytest.mark.parametrize(("content", "message"), [(b"\xff\xfe", "in UTF-8"), (b"\n\n", "holds none"), (b"", "none")])
def test_a_file_without_words_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_vocabulary(tmp_path / "words.txt")


def test_the_input_of_token_ids_is_the_one_of_integers() -> None:
    assert token_input([("x", "float32"), ("tokens", "int64")]) == "tokens"
    with pytest.raises(SourceError, match=r"one input of token ids.*a \(int32\), b \(uint8\)"):
        token_input([("a", "int32"), ("b", "uint8")])


def test_more_words_than_the_embedding_has_are_refused() -> None:
    model = models.tokens_model()  # an embedding of 7
    check_vocabulary(Vocabulary(tuple("abcdefg")), model_interface(model), model)
    with pytest.raises(SourceError, match=r"than the model's embedding knows, 7. Received: 8 words"):
        check_vocabulary(Vocabulary(tuple("abcdefgh")), model_interface(model), model)
