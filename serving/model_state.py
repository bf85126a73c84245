"""What the manager knows of a model and of its versions."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.config.models import ModelConfig
from serving.repository import Fingerprint
from serving.servable import Servable
from serving.types import State, VersionStatus

WHOLE_MODEL = -1
"""Stands in notes for the model as a whole; a version is never negative."""
LABELS = -2
"""Stands in notes for the labels."""
_MOST_ENDED = 100
"""Ended versions that a model's status still lists."""


@dataclass
class Version:
    """What is known of one version that was ever tried.

    Attributes:
        status: What clients are told.
        fingerprint: The files when it was last tried.
        path: The folder it was loaded from.
        servable: What answers requests; set while it is available.
        num_retries: How often it was tried again without its files having changed.
        retry_at: When it is tried again, in the event loop's time; None: only when its files change.
        unloading: Lets go of it; set from then on.
    """

    status: VersionStatus
    fingerprint: Fingerprint
    path: Path
    servable: Servable | None = None
    num_retries: int = 0
    retry_at: float | None = None
    unloading: "asyncio.Task[None] | None" = None

    @property
    def available(self) -> bool:
        """Whether it answers requests."""
        return self.status.state == State.AVAILABLE


@dataclass
class Model:
    """A model that is or was served.

    Attributes:
        config: What was asked for last.
        removed: Whether it shall not be served any more.
        versions: By number.
        seen: The files at the last look, by version.
        notes: What is wrong, by version.
        labels: The labels in effect, with their versions.
        lock: Held while its versions are brought up to date.
    """

    config: ModelConfig
    removed: bool = False
    versions: dict[int, Version] = field(default_factory=dict)
    seen: dict[int, Fingerprint] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def available(self) -> list[int]:
        """The versions that answer requests, newest first."""
        return sorted((number for number, version in self.versions.items() if version.available), reverse=True)

    def retrying(self) -> bool:
        """Whether a version failed and will be tried again by itself, or is being tried."""
        return any(version.status.state == State.LOADING for version in self.versions.values())

    def forget_ended(self) -> None:
        """Drops the oldest of the versions that ended, so that the status doesn't grow for ever."""
        ended = sorted(number for number, version in self.versions.items() if version.status.state == State.END)
        for number in ended[:-_MOST_ENDED]:
            del self.versions[number]

    def explain_unserved(self) -> str:
        """Why no version answers requests."""
        failed: Mapping[int, str] = {
            number: version.status.error_message
            for number, version in self.versions.items()
            if version.status.error_message
        }
        reasons = dict(sorted({**self.notes, **failed}.items(), reverse=True))
        return " ".join(reasons.values()) or (
            f"{self.config.base_path} holds no version folder (a whole number, as 1)."
        )

    def last_failure(self) -> tuple[int | None, str]:
        """The newest version that failed, with its message; no version where there is none at all."""
        for number, version in sorted(self.versions.items(), reverse=True):
            if version.status.error_message:
                return number, version.status.error_message
        return None, self.explain_unserved()
