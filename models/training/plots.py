"""Pictures of a run: the course of the training, and the confusion matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from models.files import write_atomically

DPI = 120


def plot_curves(path: Path, history: Mapping[str, Sequence[float]], best_epoch: int) -> None:
    """Loss and accuracy of training and validation over the epochs, the best epoch marked; a PNG."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = range(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], label="training")
        axes.plot(epochs, history[f"val_{name}"], label="validation")
        axes.axvline(best_epoch, color="grey", linestyle=":", label="best validation loss")
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=DPI))


def plot_confusion_matrix(path: Path, matrix: Sequence[Sequence[int]], class_labels: Sequence[str]) -> None:
    """The confusion matrix, coloured by the share of the true class, with the counts; a PNG."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.0 + 0.5 * len(class_labels)
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    ticks = range(len(class_labels))
    axes.set(xlabel="predicted", ylabel="true", xticks=ticks, yticks=ticks, yticklabels=class_labels)
    axes.set_xticklabels(class_labels, rotation=45, ha="right")
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(image, label="share of the true class")
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=DPI))
