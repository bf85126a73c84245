import numpy as np
import pytest

from models import data
from models.errors import DataSetCorruptError
from models.progress import SilentProgress
from tests.models.data.files import write_fashion_mnist, write_idx


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WHYSERVE_DATA", str(tmp_path))
    monkeypatch.setenv("WHYSERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "fashion_mnist"


def load():
    return data.dataset("fashion_mnist").load(0, SilentProgress())


def test_files_of_the_user_are_read(folder):
    arrays = write_fashion_mnist(folder)
    fashion = load()
    assert fashion.sizes == {"train": 220, "validation": 20, "test": 40}
    np.testing.assert_array_equal(np.bincount(fashion.validation.labels), np.full(10, 2))
    np.testing.assert_array_equal(fashion.test.images[..., 0], arrays["t10k-images-idx3-ubyte.gz"])
    np.testing.assert_array_equal(fashion.test.labels, arrays["t10k-labels-idx1-ubyte.gz"])
    assert fashion.class_labels[9] == "Ankle boot"
    assert fashion.task.image_shape == data.dataset("fashion_mnist").image_shape


def test_the_source_says_that_files_are_not_the_official_ones(folder):
    write_fashion_mnist(folder)
    assert load().source.startswith("files of the user that are not the official ones: train-images-idx3-ubyte.gz, ")


def test_labels_that_do_not_go_with_the_images_are_refused(folder):
    write_fashion_mnist(folder)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(7))
    with pytest.raises(
        DataSetCorruptError, match=r"train-labels-idx1-ubyte.gz must hold 240 labels, one an image. Received: 7"
    ):
        load()


def test_a_label_that_is_no_class_is_refused(folder):
    write_fashion_mnist(folder)
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.full(40, 10))
    with pytest.raises(DataSetCorruptError, match=r"must hold labels from 0 to 9. Received: 10 to 10"):
        load()
