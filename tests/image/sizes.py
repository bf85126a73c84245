"""What takes the room in an image."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.image.engines import Container, EngineError

PACKAGES = PurePosixPath("/opt/venv/lib")
OURS = PurePosixPath("/opt/whyserve")
# Mounted, not part of the image.
MOUNTED = ("/proc", "/sys", "/dev", "/models", "/tmp")  # noqa: S108
LARGEST = 8


@dataclass(frozen=True)
class Sizes:
    """Bytes of every folder, with all that is in it."""

    folders: dict[PurePosixPath, int]

    @classmethod
    def measure(cls, container: Container) -> "Sizes":
        """Asks `du` in the container; the few folders that only root may read (apt's, /root) are empty."""
        excluded = [f"--exclude={folder}" for folder in MOUNTED]
        reply = container.run("du", "--one-file-system", "--apparent-size", "--block-size=1", *excluded, "/")
        rows = (line.split("\t", 1) for line in reply.stdout.splitlines())
        folders = {PurePosixPath(path): int(size) for size, path in rows}
        if PurePosixPath("/") not in folders:
            raise EngineError(f"`du` must list the image's folders. Received: {reply.stderr or reply.stdout!r}.")
        return cls(folders)

    @property
    def total(self) -> int:
        return self.folders[PurePosixPath("/")]

    def table(self) -> list[str]:
        """Lines for people: the parts, and the largest packages."""
        (site_packages,) = [folder for folder in self.folders if folder.match(f"{PACKAGES}/*/site-packages")]
        packages, ours = self.folders[site_packages], self.folders[OURS]
        largest = sorted(self.packages(site_packages).items(), key=lambda item: -item[1])[:LARGEST]
        rows = [
            ("size, unpacked", self.total),
            ("  base: Debian and Python", self.total - packages - ours),
            ("  packages", packages),
            *[(f"    {name}", size) for name, size in largest],
            ("  Whyserve itself", ours),
        ]
        return [f"{name:<32}{size / 1e6:8.1f} MB" for name, size in rows]

    def packages(self, site_packages: PurePosixPath) -> dict[str, int]:
        """Bytes by package; the shared libraries of a wheel (`numpy.libs`) count with it."""
        found: dict[str, int] = {}
        for folder, size in self.folders.items():
            if folder.parent == site_packages:
                name = folder.name.removesuffix(".libs")
                found[name] = found.get(name, 0) + size
        return found
