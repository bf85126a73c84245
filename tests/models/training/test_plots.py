import numpy as np
from matplotlib import image

from models.training.plots import plot_confusion_matrix, plot_curves

HISTORY = {"loss": [2.0, 1.0], "val_loss": [2.0, 1.5], "accuracy": [0.5, 0.7], "val_accuracy": [0.4, 0.6]}


def test_curves_are_drawn(tmp_path):
    plot_curves(tmp_path / "curves.png", HISTORY, 2)
    pixels = image.imread(tmp_path / "curves.png")
    assert pixels.shape[:2] == (480, 1200)
    # Matplotlib's first two colours, of training and of validation.
    for color in ((31, 119, 180), (255, 127, 14)):
        assert np.count_nonzero((np.abs(pixels[..., :3] * 255 - color) < 3).all(axis=-1)) > 50


def test_the_confusion_matrix_is_drawn_dark_where_the_share_is_large(tmp_path):
    path = tmp_path / "confusion_matrix.png"
    plot_confusion_matrix(path, [[90, 0], [0, 10]], ("cat", "dog"))
    diagonal = image.imread(path)
    plot_confusion_matrix(path, [[0, 0], [0, 0]], ("cat", "dog"))
    empty = image.imread(path)
    assert diagonal.shape == empty.shape
    # Both shares are 1, whatever the counts: two of four squares are dark blue.
    dark = (np.abs(diagonal[..., :3] * 255 - (8, 48, 107)) < 3).all(axis=-1).sum()
    assert dark > 1.5 * (np.abs(empty[..., :3] * 255 - (8, 48, 107)) < 3).all(axis=-1).sum()
