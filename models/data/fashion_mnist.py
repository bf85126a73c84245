"""Fashion-MNIST: 70,000 photographs of clothes."""

import numpy as np

from models.data.dataset import DataSet, DataSetEntry, Examples
from models.data.idx import read_idx
from models.data.labels import check_labels
from models.data.split import stratified_split
from models.data.store import FoundFile, RemoteFile, fetch
from models.progress import Progress

CLASS_LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
VALIDATION_SHARE = 1 / 12  # 5,000 of the 60,000
PIXEL_RANGE = (0.0, 255.0)
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
TRAIN_IMAGES = RemoteFile(
    f"{ADDRESS}/train-images-idx3-ubyte.gz",
    26_421_880,
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
)
TRAIN_LABELS = RemoteFile(
    f"{ADDRESS}/train-labels-idx1-ubyte.gz", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
)
TEST_IMAGES = RemoteFile(
    f"{ADDRESS}/t10k-images-idx3-ubyte.gz",
    4_422_102,
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
)
TEST_LABELS = RemoteFile(
    f"{ADDRESS}/t10k-labels-idx1-ubyte.gz", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
)


def load_fashion_mnist(split_seed: int, progress: Progress) -> DataSet:
    """The official training and test sets; a twelfth of the training set, stratified, becomes the validation set.

    Args:
        split_seed: Of the validation split.
        progress: Told where the files are found, and of downloads.

    Raises:
        DataSetUnavailableError: A file is nowhere and can't be downloaded.
        DataSetCorruptError: A file is not what it should be.
    """
    remote = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
    files = [fetch(file, "fashion_mnist", progress) for file in remote]
    source = _describe(files)
    progress.message(f"data: fashion_mnist, {source}")
    rest, test = _read(files[0], files[1]), _read(files[2], files[3])
    train, validation = stratified_split(rest, VALIDATION_SHARE, split_seed)
    return DataSet("fashion_mnist", train, validation, test, CLASS_LABELS, PIXEL_RANGE, source)


def _read(images: FoundFile, labels: FoundFile) -> Examples:
    pixels = read_idx(images.path, 3)[..., np.newaxis]
    classes = read_idx(labels.path, 1).astype(np.int64)
    check_labels(labels.path, classes, num_examples=len(pixels), num_classes=len(CLASS_LABELS))
    return Examples(pixels, classes)


def _describe(files: list[FoundFile]) -> str:
    other = [file.path.name for file in files if not file.official]
    if other:
        return f"files of the user that are not the official ones: {', '.join(other)}"
    return "official files, SHA-256 checked"


FASHION_MNIST = DataSetEntry(
    name="fashion_mnist",
    summary="70,000 grey photographs of clothes, 28x28 pixels, 10 balanced classes.",
    image_shape=(28, 28, 1),
    class_labels=CLASS_LABELS,
    num_examples=70_000,
    source="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    citation="Xiao, Rasul, Vollgraf 2017, Fashion-MNIST: a novel image dataset, arXiv 1708.07747",
    load=load_fashion_mnist,
)
