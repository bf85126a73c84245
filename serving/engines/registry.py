"""The engines by name. Each is imported when it is asked for: the ONNX server must not import TensorFlow."""

from collections.abc import Callable

from serving.engines.base import Engine
from serving.engines.settings import SessionSettings


def _onnxruntime(device: str, num_threads: int | None, _session: SessionSettings | None) -> Engine:
    from serving.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(device=device, num_threads=num_threads)


def _tensorflow(device: str, num_threads: int | None, session: SessionSettings | None) -> Engine:
    from serving.engines.tensorflow import TensorFlowEngine

    return TensorFlowEngine(device=device, num_threads=num_threads, session=session)


EngineFactory = Callable[[str, int | None, SessionSettings | None], Engine]

ENGINES: dict[str, EngineFactory] = {}


def register(name: str, factory: EngineFactory) -> None:
    """Adds an engine.

    Raises:
        ValueError: The name is taken.
    """
    if name in ENGINES:
        raise ValueError(f"Each engine must have a name of its own. Received: {name!r}, which is registered already.")
    ENGINES[name] = factory


def create_engine(
    name: str, *, device: str = "cpu", num_threads: int | None = None, session: SessionSettings | None = None
) -> Engine:
    """Makes an engine.

    Args:
        name: A key of `ENGINES`.
        device: `cpu`, `cuda` or `auto`.
        num_threads: Threads of one run; None for as many as the process has processors.
        session: What only TensorFlow takes.

    Raises:
        ValueError: No engine has this name.
    """
    if name not in ENGINES:
        raise ValueError(f"`engine` must be one of {sorted(ENGINES)}. Received: engine={name!r}.")
    return ENGINES[name](device, num_threads, session)


register("onnxruntime", _onnxruntime)
register("tensorflow", _tensorflow)
