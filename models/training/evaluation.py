"""Figures of a classifier on held-out examples, all by scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def classification_metrics(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], class_labels: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, precision, recall, F1, ROC-AUC, log loss and the confusion matrix.

    Precision, recall and F1 are means over the classes (macro); ROC-AUC is the mean of one class against the rest.

    Args:
        labels: True classes `(examples,) int64`.
        probabilities: `(examples, num_classes) float32`, rows of sum 1.
        class_labels: Text of each class.

    Returns:
        A JSON-ready dict; rows of `confusion_matrix` are true classes, columns predicted ones. `roc_auc` is None where
        a class has no example, for then it is not defined.
    """
    from sklearn import metrics

    classes = np.arange(len(class_labels))
    predicted = probabilities.argmax(axis=1)
    # scikit-learn wants rows that sum to 1 in float64; float32 softmax misses that by 1e-7.
    shares = probabilities.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    per_class = metrics.precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0.0)
    precision, recall, f1 = (float(np.mean(values)) for values in per_class[:3])
    return {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "roc_auc": _roc_auc(labels, shares, classes),
        "loss": float(metrics.log_loss(labels, shares, labels=classes)),
        "num_examples": len(labels),
        "confusion_matrix": metrics.confusion_matrix(labels, predicted, labels=classes).tolist(),
        "per_class": [
            {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "num_examples": int(n)}
            for label, p, r, f, n in zip(class_labels, *per_class, strict=True)
        ],
    }


def _roc_auc(
    labels: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], classes: npt.NDArray[np.int64]
) -> float | None:
    from sklearn import metrics

    if len(np.unique(labels)) < len(classes):
        return None
    if len(classes) == 2:
        return float(metrics.roc_auc_score(labels, shares[:, 1]))
    return float(metrics.roc_auc_score(labels, shares, multi_class="ovr", labels=classes))
