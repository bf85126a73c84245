"""Which models are served, and which of their versions: what a configuration says, free of its form."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TENSORFLOW_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class Latest:
    """The newest versions, `num_versions` of them."""

    num_versions: int = 1

    def candidates(self, versions: Iterable[int]) -> list[int]:
        """The versions that may be served, in the order in which they are tried."""
        return sorted(versions, reverse=True)

    @property
    def most(self) -> float:
        """How many are served at once."""
        return self.num_versions


@dataclass(frozen=True)
class All:
    """Every version."""

    def candidates(self, versions: Iterable[int]) -> list[int]:
        """The versions that may be served, in the order in which they are tried."""
        return sorted(versions, reverse=True)

    @property
    def most(self) -> float:
        """How many are served at once."""
        return math.inf


@dataclass(frozen=True)
class Specific:
    """The versions named, and no other."""

    versions: tuple[int, ...]

    def candidates(self, versions: Iterable[int]) -> list[int]:
        """The versions that may be served, in the order in which they are tried."""
        return sorted(set(self.versions) & set(versions), reverse=True)

    @property
    def most(self) -> float:
        """How many are served at once."""
        return math.inf


VersionPolicy = Latest | All | Specific


@dataclass(frozen=True)
class RequestLogging:
    """A model's `logging_config`.

    Attributes:
        kind: `log_collector_config.type`: what writes the log.
        filename_prefix: `log_collector_config.filename_prefix`: where it goes.
        sampling_rate: Share of the requests that is logged, in [0, 1].
    """

    kind: str
    filename_prefix: str
    sampling_rate: float


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: What clients call it.
        base_path: The folder of its version folders.
        policy: Which of its versions are served.
        labels: Versions by label.
        platform: What the configuration calls the engine.
        logging: How its requests are logged; None: not at all.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    platform: str = TENSORFLOW_PLATFORM
    logging: RequestLogging | None = None
