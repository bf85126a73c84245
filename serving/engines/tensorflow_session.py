"""The configuration of TensorFlow's sessions, from a file and from flags."""

from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving.engines.settings import SessionSettings
from serving.errors import StartError
from serving.protos import session_pb2

_CALLER = -1
"""Operations run in the thread that asks. One thread for all sessions would let a model wait for another's warm-up."""


def read_session_config(path: Path | None) -> Any:
    """Reads a `ConfigProto` in text format.

    Args:
        path: The file; None: there is none.

    Returns:
        The message; an empty one, of the fields that flags set, without a file.

    Raises:
        StartError: The file can't be read or is none.
    """
    if path is None:
        return session_pb2.ConfigProto()
    from tensorflow.core.protobuf import config_pb2  # a file may hold whatever TensorFlow knows

    config = config_pb2.ConfigProto()
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), config)
    except OSError as error:
        raise StartError(f"{path} must be a readable file. Received: {error.strerror}.") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise StartError(
            f"Invalid protobuf file: '{path}'. Error parsing text-format tensorflow.ConfigProto: {error}"
        ) from error


def make_session_config(base: Any, settings: SessionSettings, num_threads: int, *, gpu: bool) -> Any:
    """The configuration of a session.

    Args:
        base: What the file says; it counts where a flag says nothing.
        settings: What the flags say.
        num_threads: Threads where neither says how many.
        gpu: Whether the session may use a GPU.
    """
    config = type(base)()
    config.CopyFrom(base)
    config.intra_op_parallelism_threads = settings.intra_op_threads or base.intra_op_parallelism_threads or num_threads
    config.inter_op_parallelism_threads = (
        settings.inter_op_threads or base.inter_op_parallelism_threads or (num_threads if num_threads > 1 else _CALLER)
    )
    config.allow_soft_placement = True
    if not gpu:
        config.device_count["GPU"] = 0
    if settings.gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = settings.gpu_memory_fraction
    elif not base.gpu_options.per_process_gpu_memory_fraction:
        config.gpu_options.allow_growth = True
    if settings.mixed_precision:
        rewriter = config.graph_options.rewrite_options
        rewriter.auto_mixed_precision_onednn_bfloat16 = rewriter.ON
    if settings.xla_cpu or settings.xla_gpu:
        optimizer = config.graph_options.optimizer_options
        optimizer.global_jit_level = optimizer.ON_1
        optimizer.cpu_global_jit = settings.xla_cpu
    return config
