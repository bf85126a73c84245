"""The names of the models to cover, light ones first; no heavy library is needed to list them."""

import fnmatch
from collections.abc import Sequence

from whyserve.errors import CommandError

# About in the order of the work: parameters times the size of the graph.
APPLICATIONS = (
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0",
    "EfficientNetB1", "EfficientNetV2B1", "EfficientNetB2", "EfficientNetV2B2", "ResNet50", "ResNet50V2", "VGG16",
    "VGG19", "Xception", "InceptionV3", "DenseNet121", "NASNetMobile", "ConvNeXtTiny", "EfficientNetV2B3",
    "EfficientNetB3", "DenseNet169", "DenseNet201", "EfficientNetV2S", "EfficientNetB4", "ResNet101", "ResNet101V2",
    "ConvNeXtSmall", "InceptionResNetV2", "ResNet152", "ResNet152V2", "EfficientNetB5", "EfficientNetB6",
    "EfficientNetV2M", "EfficientNetB7", "ConvNeXtBase", "NASNetLarge", "EfficientNetV2L", "ConvNeXtLarge",
    "ConvNeXtXLarge",
)  # fmt: skip


def choose(patterns: Sequence[str], names: Sequence[str] = APPLICATIONS) -> list[str]:
    """The names that match a pattern, upper and lower case alike.

    Args:
        patterns: As in `ResNet*`; empty for all.
        names: What there is.

    Returns:
        The names in the order of the catalogue.

    Raises:
        CommandError: A pattern matches nothing.
    """
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            raise CommandError(
                f"Expected --models to match one of {', '.join(names)}. Received: {pattern!r}, which matches none"
            )
    return [name for name in names if not patterns or any(_matches(name, pattern) for pattern in patterns)]


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())
