"""Finds the bundle that a path means."""

from pathlib import Path

from whyserve.errors import CommandError


def newest_version(path: Path) -> Path:
    """A bundle's folder: `path` itself, or the highest version number in a model's folder.

    Args:
        path: A version folder, or the folder of a model that holds them.

    Returns:
        The version folder.

    Raises:
        CommandError: There is no bundle.
    """
    if (path / "manifest.json").is_file():
        return path
    versions = [child for child in path.iterdir() if child.name.isdigit()] if path.is_dir() else []
    if not versions:
        raise CommandError(
            "Expected a bundle (a folder with manifest.json, or a model's folder of numbered versions). "
            f"Received: {path}. `whyserve export` writes one."
        )
    return max(versions, key=lambda child: int(child.name))
