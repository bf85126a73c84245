"""What only some engines take."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SessionSettings:
    """How TensorFlow loads a SavedModel and runs its session; ONNX Runtime has nothing of the kind.

    Attributes:
        tags: Tags of the graph to load.
        intra_op_threads: Threads within an operation; 0: those of the engine.
        inter_op_threads: Operations at once; 0: those of the engine.
        config_file: A `ConfigProto` in text format, on which the rest builds.
        gpu_memory_fraction: Share of the GPU's memory that is taken at once; 0: as it is needed.
        mixed_precision: `bfloat16`, or empty.
        xla_cpu: Whether XLA compiles for the CPU.
        xla_gpu: Whether XLA compiles for the GPU.
    """

    tags: tuple[str, ...] = ("serve",)
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    config_file: Path | None = None
    gpu_memory_fraction: float = 0.0
    mixed_precision: str = ""
    xla_cpu: bool = False
    xla_gpu: bool = False
