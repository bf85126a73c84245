"""What a configuration may ask for, refused in TensorFlow Serving's words where it has some."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from serving.config.models import ModelConfig, Specific
from serving.errors import invalid_argument

_FILE_SCHEME = "file://"


def check_names(names: Iterable[str]) -> None:
    """Refuses models without a name, and two of one name."""
    seen = set()
    for name in names:
        if not name:
            raise invalid_argument("Each model must have a name. Received: a model without one. Set `name`.")
        if name in seen:
            raise invalid_argument(f"Illegal to list model {name} multiple times in config list")
        seen.add(name)


def check_platforms(models: Iterable[ModelConfig], served: Mapping[str, ModelConfig]) -> None:
    """Refuses a model that runs on another platform than the one of its name that is served."""
    for model in models:
        before = served.get(model.name)
        if before is not None and before.platform != model.platform:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {model.name} platform was {before.platform} and new "
                f"platform requested is {model.platform}"
            )


def find_folder(name: str, base_path: str) -> Path:
    """The folder that `base_path` names: a path, or a URI of the scheme `file`.

    Raises:
        ServingError: INVALID_ARGUMENT: it is on a storage that has to be mounted first.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", base_path) and not base_path.startswith(_FILE_SCHEME):
        raise invalid_argument(
            f"Model {name} must have its files on a mounted file system. Received: base_path={base_path!r}. Mount the "
            "storage, and name the folder."
        )
    return Path(base_path.removeprefix(_FILE_SCHEME))


def check_base_path(name: str, base_path: str) -> Path:
    """The folder that `base_path` names, which must be absolute.

    Raises:
        ServingError: INVALID_ARGUMENT: it is relative, or on a storage that has to be mounted first.
    """
    path = find_folder(name, base_path)
    if not path.is_absolute():
        raise invalid_argument(f"Expected model {name} to have an absolute path or URI; got base_path()={base_path}")
    return path


def check_platform(name: str, platform: str, platforms: Collection[str]) -> str:
    """Refuses a platform that this server can't run."""
    if platform not in platforms:
        raise invalid_argument(f"Model {name} requests unsupported platform {platform}")
    return platform


def make_specific(name: str, versions: Iterable[int]) -> Specific:
    """The versions of a specific policy: at least one, none negative."""
    chosen = tuple(sorted(set(versions)))
    if not chosen or chosen[0] < 0:
        raise invalid_argument(
            f"The specific versions of model {name} must be whole numbers, at least one. Received: {list(chosen)}."
        )
    return Specific(chosen)
