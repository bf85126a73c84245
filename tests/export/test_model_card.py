from pathlib import Path

from export.manifest import load_manifest
from export.model_card import model_card


def test_the_card_tells_what_the_manifest_knows(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    assert card.startswith("# digits, version 1\n")
    assert "3 classes: cat, dog, owl." in card
    assert "| input | `image` | float32 | (any, 8, 8, 1) |" in card
    assert f"Data: digits (made up), SHA-256 `{'ab' * 32}`; examples: 8 train, 4 test." in card
    assert "| accuracy | 0.5 |" in card
    assert "roc_auc" not in card  # it isn't a number
    assert "| convolution | Conv2D | z_plus |" in card
    assert "composite `epsilon_plus`" in card
    assert "add up to `explained_value`, the score of `probabilities`" in card
    assert "reference Keras (relevance in float64)" in card


def test_what_is_not_known_is_said_so(bundle: Path) -> None:
    import dataclasses

    stranger = dataclasses.replace(
        load_manifest(bundle), task="unknown", class_labels=(), provenance={}, explanation=None, conservation=None
    )
    card = model_card(stranger)
    assert "a task that its file doesn't tell" in card
    assert "Data: not known" in card
    assert "## Metrics\n\nNot known." in card
    assert "exported without explanations" in card
