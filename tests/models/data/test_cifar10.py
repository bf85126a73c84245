import numpy as np
import pytest

from models import data
from models.errors import DataSetCorruptError, DataSetUnavailableError
from models.progress import SilentProgress
from tests.models.data.files import write_cifar10_archive, write_cifar10_batches, write_cifar10_subset


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WHYSERVE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("WHYSERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def load():
    return data.dataset("cifar10").load(0, SilentProgress())


def check_batches(cifar):
    assert cifar.sizes == {"train": 90, "validation": 10, "test": 20}
    np.testing.assert_array_equal(np.bincount(cifar.validation.labels), np.ones(10))
    np.testing.assert_array_equal(cifar.test.labels, np.arange(20) % 10)
    np.testing.assert_array_equal(cifar.test.images[7, 3, 4], [7, 8, 9])


@pytest.mark.parametrize("place", ["cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_unpacked_files_are_read(folder, place):
    write_cifar10_batches(folder / place)
    cifar = load()
    check_batches(cifar)
    assert cifar.source == "unpacked files of the user"


def test_the_archive_is_read_without_unpacking_it(folder, tmp_path):
    write_cifar10_batches(tmp_path / "files")
    write_cifar10_archive(folder / "cifar10" / "cifar-10-binary.tar.gz", tmp_path / "files")
    cifar = load()
    check_batches(cifar)
    assert cifar.source == "not the official archive: cifar-10-binary.tar.gz"
    assert [path.name for path in folder.rglob("*")] == ["cifar10", "cifar-10-binary.tar.gz"]


def test_a_subset_says_that_it_is_one(folder):
    write_cifar10_subset(folder / "cifar10_subset")
    cifar = load()
    assert cifar.sizes == {"train": 108, "validation": 12, "test": 10}
    assert cifar.source == "a subset: 120 of 50000 training and 10 of 10000 test images"


def test_the_whole_goes_before_a_subset(folder):
    write_cifar10_subset(folder / "cifar10_subset")
    write_cifar10_batches(folder / "cifar-10-batches-bin")
    check_batches(load())


def test_a_missing_batch_is_named(folder):
    write_cifar10_batches(folder / "cifar10")
    (folder / "cifar10" / "data_batch_4.bin").unlink()
    with pytest.raises(DataSetCorruptError, match=r"needs .*data_batch_4.bin. Received: no such file"):
        load()


def test_a_truncated_archive_is_refused(folder, tmp_path):
    write_cifar10_batches(tmp_path / "files")
    archive = folder / "cifar10" / "cifar-10-binary.tar.gz"
    write_cifar10_archive(archive, tmp_path / "files")
    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(DataSetCorruptError, match=r"must be a whole .tar.gz archive. Received: "):
        load()


def test_an_archive_of_something_else_is_refused(folder, tmp_path):
    (tmp_path / "files").mkdir()
    write_cifar10_archive(folder / "cifar10" / "cifar-10-binary.tar.gz", tmp_path / "files")
    with pytest.raises(DataSetCorruptError, match=r"must hold data_batch_1.bin, .*Received: none"):
        load()


def test_a_truncated_subset_is_refused(folder):
    write_cifar10_subset(folder / "cifar10_subset")
    path = folder / "cifar10_subset" / "cifar10_subset_test.bin.xz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataSetCorruptError, match=r"cifar10_subset_test.bin.xz must be a whole .xz file"):
        load()


def test_what_is_nowhere_says_where_it_was_looked_for(folder, tmp_path, monkeypatch):
    # Nobody answers at this address: the proxy refuses.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(DataSetUnavailableError) as caught:
        load()
    text = str(caught.value)
    assert (
        f"{folder}/cifar10/cifar-10-binary.tar.gz, {folder}/cifar-10-binary.tar.gz, {tmp_path}/cache/data/cifar10/"
        in text
    )
    assert "Downloading https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz failed: ConnectError" in text
    assert "put the file into a folder 'cifar10' and set WHYSERVE_DATA to the folder above it" in text
    assert not list((tmp_path / "cache").rglob("*.part"))
