"""What the figures were measured on."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from serving.engines.cpu import count_cpus

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "tensorflow", "grpcio", "uvicorn")


@dataclass(frozen=True)
class Machine:
    """The machine: its processor, how many cores this process may use, memory, and versions."""

    processor: str
    cores: int
    memory_gb: float
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        """This machine."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(_processor(), count_cpus(), round(memory / 1e9, 1), platform.python_version(), _packages())

    def __str__(self) -> str:
        return f"{self.processor}, {self.cores} cores, {self.memory_gb} GB, Python {self.python}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def resident_mb(pid: int) -> tuple[float, float]:
    """Resident memory of a process in MB (10^6 bytes), as `/proc` tells it.

    Args:
        pid: The process.

    Returns:
        Now, and at its largest.
    """
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    now, largest = (int(fields[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM"))
    return now, largest
