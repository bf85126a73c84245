"""Small files in the official layouts."""

import gzip
import lzma
import struct
import tarfile

import numpy as np


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def write_fashion_mnist(folder, *, train=240, test=40):
    """Random clothes, classes in turn; returns the arrays by file name."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    arrays = {}
    for prefix, count in (("train", train), ("t10k", test)):
        arrays[f"{prefix}-images-idx3-ubyte.gz"] = generator.integers(0, 256, (count, 28, 28))
        arrays[f"{prefix}-labels-idx1-ubyte.gz"] = np.arange(count) % 10
    for name, array in arrays.items():
        write_idx(folder / name, array)
    return arrays


def cifar_records(count, *, first_label=0):
    """Record i: label, then red i, green i + 1, blue i + 2, the first red pixel 200."""
    records = np.zeros((count, 3073), np.uint8)
    records[:, 0] = (first_label + np.arange(count)) % 10
    for channel in range(3):
        records[:, 1 + 1024 * channel : 1 + 1024 * (channel + 1)] = (np.arange(count) % 100 + channel)[:, np.newaxis]
    records[:, 1] = 200
    return records.tobytes()


def write_cifar10_batches(folder, *, count=20):
    folder.mkdir(parents=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(cifar_records(count))
    (folder / "test_batch.bin").write_bytes(cifar_records(count))
    (folder / "batches.meta.txt").write_text("airplane\n")


def write_cifar10_archive(path, folder):
    """The official archive's layout, from the files in `folder`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "cifar-10-batches-bin")


def write_cifar10_subset(folder, *, train=120, test=10):
    folder.mkdir(parents=True)
    for name, count in (("train", train), ("test", test)):
        (folder / f"cifar10_subset_{name}.bin.xz").write_bytes(lzma.compress(cifar_records(count)))
