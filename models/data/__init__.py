"""The data sets by name. Importing it is cheap: readers and scikit-learn are loaded with the data."""

from models.data.cifar10 import CIFAR10
from models.data.dataset import DataSet, DataSetEntry, Examples
from models.data.digits import DIGITS
from models.data.fashion_mnist import FASHION_MNIST
from models.entries import add_entry, find_entry

__all__ = ["DataSet", "DataSetEntry", "Examples", "dataset", "datasets", "register"]

_DATASETS: dict[str, DataSetEntry] = {}


def register(entry: DataSetEntry) -> None:
    """Makes a data set known under its name.

    Raises:
        ValueError: The name is taken.
    """
    add_entry(_DATASETS, "data set", entry.name, entry)


def datasets() -> dict[str, DataSetEntry]:
    """All data sets by name, in the order of registration; the dict is the caller's own."""
    return dict(_DATASETS)


def dataset(name: str) -> DataSetEntry:
    """The data set called `name`.

    Raises:
        UnknownNameError: There is none; the text lists the known ones.
    """
    return find_entry(_DATASETS, "data set", name)


for _entry in (DIGITS, FASHION_MNIST, CIFAR10):
    register(_entry)
