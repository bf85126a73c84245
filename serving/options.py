"""The options of the server: `tensorflow_model_server`'s names and meanings where it has them, and our own."""

from dataclasses import dataclass, fields
from pathlib import Path

from serving.engines.registry import ENGINES

DEVICES = ("cpu", "cuda", "auto")
_MAX_PORT = 65535


class OptionsError(ValueError):
    """Options that contradict one another, or a value out of its range."""


@dataclass(frozen=True)
class ServerOptions:
    """What `whyserve serve` is started with. Checked by `check_options`.

    Attributes:
        port: gRPC's TCP port; 0: no gRPC.
        rest_api_port: REST's TCP port; 0: no REST. TensorFlow Serving has it off by default.
        host: Address that both listen on.
        model_name: Name of the single model at `model_base_path`.
        model_base_path: Folder of the single model's version folders.
        model_config_file: A `ModelServerConfig` in text format; not supported yet.
        model_repository: Folder of model folders, each served under its own name.
        file_system_poll_wait_seconds: Seconds between looks at the version folders; 0 or less: only once.
        num_versions: How many of a model's newest versions are served at once.
        enable_batching: True joins requests for every model, False for none. None, the default: for bundles, whose
            rows are known not to influence each other.
        max_batch_size: Rows of a batch of predictions; a larger request runs alone.
        max_wait_ms: Milliseconds that a prediction may wait for others while the engine is free.
        max_queued_requests: Predictions that wait, for each model version; one more is refused at once.
        max_explain_batch_size: Rows of a batch of explanations.
        max_queued_explanations: Explanations that wait, for each model version.
        grpc_max_threads: Threads that run predictions that take long; 0: as many as there are processors.
        explain_threads: Threads that run explanations that take long; 0: half as many as there are processors.
        rest_api_timeout_in_ms: Milliseconds until a REST request is given up.
        max_request_bytes: Largest body of a REST request.
        engine: A key of `serving.engines.registry.ENGINES`.
        device: `cpu`, `cuda` or `auto`.
        num_threads: Threads of one run of the engine; 0: as many as there are processors.
        refuse_non_finite: Whether NaN and infinity in inputs are refused. None, the default: for bundles.
        grace_period_s: Seconds that requests in flight get to finish after SIGTERM.
        drain_delay_s: Seconds between failing readiness and closing the ports after SIGTERM, for load balancers to
            notice.
    """

    port: int = 8500
    rest_api_port: int = 8501
    host: str = "0.0.0.0"  # noqa: S104 -- as tensorflow_model_server listens
    model_name: str = "default"
    model_base_path: Path | None = None
    model_config_file: Path | None = None
    model_repository: Path | None = None
    file_system_poll_wait_seconds: float = 1.0
    num_versions: int = 1
    enable_batching: bool | None = None
    max_batch_size: int = 64
    max_wait_ms: float = 0.0
    max_queued_requests: int = 1024
    max_explain_batch_size: int = 32
    max_queued_explanations: int = 256
    grpc_max_threads: int = 0
    explain_threads: int = 0
    rest_api_timeout_in_ms: int = 30_000
    max_request_bytes: int = 256 << 20
    engine: str = "onnxruntime"
    device: str = "auto"
    num_threads: int = 0
    refuse_non_finite: bool | None = None
    grace_period_s: float = 30.0
    drain_delay_s: float = 1.0


_AT_LEAST_ONE = (
    "num_versions",
    "max_batch_size",
    "max_queued_requests",
    "max_explain_batch_size",
    "max_queued_explanations",
    "rest_api_timeout_in_ms",
    "max_request_bytes",
)
_AT_LEAST_ZERO = (
    "max_wait_ms",
    "grpc_max_threads",
    "explain_threads",
    "num_threads",
    "grace_period_s",
    "drain_delay_s",
)


def check_options(options: ServerOptions) -> None:
    """Looks for what can't work, before anything is started.

    Raises:
        OptionsError: Names the option, what was expected and what came.
    """
    _check_ranges(options)
    _check_ports(options)
    _check_models(options)
    if options.engine not in ENGINES:
        raise OptionsError(f"`engine` must be one of {sorted(ENGINES)}. Received: engine={options.engine!r}.")
    if options.device not in DEVICES:
        raise OptionsError(f"`device` must be one of {list(DEVICES)}. Received: device={options.device!r}.")


def _check_ranges(options: ServerOptions) -> None:
    for field in fields(options):
        value = getattr(options, field.name)
        least = 1 if field.name in _AT_LEAST_ONE else 0 if field.name in _AT_LEAST_ZERO else None
        # Written so that NaN is refused too.
        if least is not None and not value >= least:
            raise OptionsError(f"`{field.name}` must be at least {least}. Received: {field.name}={value!r}.")


def _check_ports(options: ServerOptions) -> None:
    for name in ("port", "rest_api_port"):
        value = getattr(options, name)
        if not 0 <= value <= _MAX_PORT:
            raise OptionsError(f"`{name}` must lie in [0, {_MAX_PORT}], 0 for none. Received: {name}={value!r}.")
    if options.port == options.rest_api_port:
        raise OptionsError(
            "`port` and `rest_api_port` must differ, and one of them must be open. "
            f"Received: port={options.port}, rest_api_port={options.rest_api_port}."
        )


def _check_models(options: ServerOptions) -> None:
    if options.model_config_file is not None:
        raise OptionsError(
            "`model_config_file` is not supported yet. Use `model_base_path` for one model, or `model_repository` "
            f"for a folder of models. Received: model_config_file={str(options.model_config_file)!r}."
        )
    if (options.model_base_path is None) == (options.model_repository is None):
        raise OptionsError(
            "Exactly one of `model_base_path` (a model's folder, with version folders in it) and `model_repository` "
            f"(a folder of such folders) must be given. Received: model_base_path={_text(options.model_base_path)}, "
            f"model_repository={_text(options.model_repository)}."
        )
    if options.model_base_path is not None and not options.model_name:
        raise OptionsError("`model_name` must not be empty. Received: model_name=''.")


def _text(path: Path | None) -> str:
    return "none" if path is None else repr(str(path))
