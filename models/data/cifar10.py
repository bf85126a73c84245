"""CIFAR-10: 60,000 colour photographs of animals and vehicles."""

import lzma
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.data.cifar_records import parse_records
from models.data.dataset import DataSet, DataSetEntry, Examples
from models.data.split import stratified_split
from models.data.store import RemoteFile, fetch, user_folders
from models.errors import DataSetCorruptError
from models.progress import Progress

CLASS_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VALIDATION_SHARE = 0.1  # 5,000 of the 50,000
PIXEL_RANGE = (0.0, 255.0)
# The authors publish the MD5 (c32a1d4ab5d03f1284b67883e8d87530) and the size; the SHA-256 is the one that
# public repositories hold for the same size and MD5.
ARCHIVE = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
TRAIN_NAMES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_NAME = "test_batch.bin"
# Folders in which the user may keep the files, below WHYSERVE_DATA; then WHYSERVE_DATA itself.
FOLDERS = ("cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10_subset")
SUBSET_TRAIN_NAME = "cifar10_subset_train.bin.xz"
SUBSET_TEST_NAME = "cifar10_subset_test.bin.xz"


@dataclass(frozen=True, eq=False)
class _Parts:
    train: Examples
    test: Examples
    source: str


def load_cifar10(split_seed: int, progress: Progress) -> DataSet:
    """The official training and test sets; a tenth of the training set, stratified, becomes the validation set.

    Taken, in this order: the official archive or its unpacked files in the user's folder, a subset there
    (`cifar10_subset_train.bin.xz` and `cifar10_subset_test.bin.xz`, the same records), the archive in the cache, the
    archive from its official address. The result's `source` says which, so that a subset is never taken for the whole.

    Args:
        split_seed: Of the validation split.
        progress: Told where the files are found, and of downloads.

    Raises:
        DataSetUnavailableError: The files are nowhere and can't be downloaded.
        DataSetCorruptError: A file is not what it should be.
    """
    parts = _read_user_folders() or _read_archive(progress)
    progress.message(f"data: cifar10, {parts.source}")
    train, validation = stratified_split(parts.train, VALIDATION_SHARE, split_seed)
    return DataSet("cifar10", train, validation, parts.test, CLASS_LABELS, PIXEL_RANGE, parts.source)


def _read_user_folders() -> _Parts | None:
    """What lies unpacked in the user's folders; None where the archive is there or nothing is."""
    folders = user_folders(FOLDERS)
    if any((folder / ARCHIVE.name).is_file() for folder in user_folders(["cifar10"])):
        return None
    for folder in folders:
        if (folder / TEST_NAME).is_file():
            train = _concatenate(_parse(folder / name, _read(folder / name)) for name in TRAIN_NAMES)
            return _Parts(train, _parse(folder / TEST_NAME, _read(folder / TEST_NAME)), "unpacked files of the user")
    for folder in folders:
        train_path, test_path = folder / SUBSET_TRAIN_NAME, folder / SUBSET_TEST_NAME
        if test_path.is_file():
            train, test = _parse(train_path, _read_xz(train_path)), _parse(test_path, _read_xz(test_path))
            return _Parts(train, test, f"a subset: {len(train)} of 50000 training and {len(test)} of 10000 test images")
    return None


def _read_archive(progress: Progress) -> _Parts:
    """Reads the records out of the archive without unpacking it to disk."""
    found = fetch(ARCHIVE, "cifar10", progress)
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(found.path, "r:gz") as archive:
            for member in archive:
                name = Path(member.name).name
                stream = archive.extractfile(member) if name in (*TRAIN_NAMES, TEST_NAME) else None
                if stream is not None:
                    contents[name] = stream.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataSetCorruptError(
            f"{found.path} must be a whole .tar.gz archive. Received: {error}. Delete it, so that it is "
            "downloaded again."
        ) from error
    missing = [name for name in (*TRAIN_NAMES, TEST_NAME) if name not in contents]
    if missing:
        raise DataSetCorruptError(
            f"{found.path} must hold {', '.join(missing)}. Received: {sorted(contents) or 'none'}."
        )
    train = _concatenate(_parse(found.path / name, contents[name]) for name in TRAIN_NAMES)
    source = "official archive, SHA-256 checked" if found.official else f"not the official archive: {found.path.name}"
    return _Parts(train, _parse(found.path / TEST_NAME, contents[TEST_NAME]), source)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise DataSetCorruptError(
            f"The unpacked CIFAR-10 needs {path}. Received: no such file. Unpack the archive again."
        )
    return path.read_bytes()


def _read_xz(path: Path) -> bytes:
    try:
        return lzma.decompress(_read(path))
    except lzma.LZMAError as error:
        raise DataSetCorruptError(f"{path} must be a whole .xz file. Received: {error}. Copy it again.") from error


def _parse(path: Path, content: bytes) -> Examples:
    return parse_records(content, path, len(CLASS_LABELS))


def _concatenate(parts: Iterable[Examples]) -> Examples:
    every = list(parts)
    return Examples(np.concatenate([part.images for part in every]), np.concatenate([part.labels for part in every]))


CIFAR10 = DataSetEntry(
    name="cifar10",
    summary="60,000 colour photographs of animals and vehicles, 32x32 pixels, 10 balanced classes.",
    image_shape=(32, 32, 3),
    class_labels=CLASS_LABELS,
    num_examples=60_000,
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none stated; the authors ask for the citation",
    citation="Krizhevsky 2009, Learning multiple layers of features from tiny images, University of Toronto",
    load=load_cifar10,
)
