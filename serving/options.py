"""The options of the server: `tensorflow_model_server`'s names and meanings where it has them, and our own."""

import re
from dataclasses import dataclass, fields
from pathlib import Path

from serving.engines.registry import ENGINES
from serving.log import LOG_FORMATS
from serving.rest.limits import MAX_JSON_DEPTH

DEVICES = ("cpu", "cuda", "auto")
REQUEST_LOG_FORMATS = ("jsonl", "tfrecord")
_MAX_PORT = 65535


class OptionsError(ValueError):
    """Options that contradict one another, or a value out of its range."""


@dataclass(frozen=True)
class ServerOptions:
    """What `whyserve serve` is started with. Checked by `check_options`.

    Attributes:
        port: gRPC's TCP port; 0: no gRPC.
        rest_api_port: REST's TCP port; 0: no REST. TensorFlow Serving has it off by default.
        host: Address that both listen on; `::` is every address, of IPv6 and IPv4.
        model_name: Name of the single model at `model_base_path`.
        model_base_path: Folder of the single model's version folders, as a path or a `file://` URI.
        model_config_file: A `ModelServerConfig` in text format: models with their base paths, version policies and
            labels. Takes the place of `model_name` and `model_base_path`.
        model_config_file_poll_wait_seconds: Seconds between looks at the `model_config_file`; 0: never again.
        model_repository: Folder of model folders, each served under its own name.
        file_system_poll_wait_seconds: Seconds between looks at the version folders; 0 or less: only once.
        num_versions: How many of a model's newest versions are served at once, where no configuration says it.
        allow_version_labels_for_unavailable_models: Whether a new label may name a version that isn't served (yet).
        enable_admin_api: Whether models may be added and removed over REST, under /v1/admin.
        num_load_threads: Versions loaded at once; 0: one, and as many as there are processors before the ports open.
        num_unload_threads: Versions unloaded at once; 0: one.
        max_num_load_retries: How often a version is tried again that failed for a reason that may pass by itself, as
            for want of memory. One that is damaged is tried again when its files change.
        load_retry_interval_micros: Microseconds between two tries.
        enable_batching: True joins requests for every model, False for none. None, the default: for bundles, whose
            rows are known not to influence each other.
        batching_parameters_file: A `BatchingParameters` in text format, which says how predictions are joined in place
            of `max_batch_size`, `max_wait_ms` and `max_queued_requests`. Needs `enable_batching`.
        enable_per_model_batching_parameters: Whether `batching_params.pbtxt` in each version's folder says how its
            predictions are joined; a version without it isn't batched. Needs `enable_batching`.
        max_batch_size: Rows of a batch of predictions; a larger request runs alone.
        max_wait_ms: Milliseconds that a prediction may wait for others while the engine is free.
        max_queued_requests: Predictions that wait, for each model version; one more is refused at once.
        max_explain_batch_size: Rows of a batch of explanations.
        max_queued_explanations: Explanations that wait, for each model version.
        grpc_max_threads: Threads that run predictions that take long; 0: as many as there are processors.
        explain_threads: Threads that run explanations that take long; 0: half as many as there are processors.
        rest_api_timeout_in_ms: Milliseconds until a REST request is given up.
        rest_api_read_timeout_in_ms: Milliseconds in which a REST request must have arrived, header and body, and in
            which a client must take an answer. Over gRPC, how long either may stand still.
        rest_api_idle_timeout_in_ms: Milliseconds that a REST connection may stay open without a request.
        rest_api_enable_cors_support: Whether REST lets scripts of any web page read its answers.
        rest_api_socket_path: A unix socket that answers REST too, never with TLS; empty: none.
        grpc_socket_path: A unix socket that answers gRPC too, never with TLS; empty: none.
        grpc_channel_arguments: Arguments of gRPC's core as `name=value,name=value`, as in
            `grpc.max_connection_age_ms=60000`; those that mean something to this server.
        ssl_config_file: An `SSLConfig` in text format (`server_key`, `server_cert`, `custom_ca` as the PEM text itself,
            `client_verify`): TLS and mutual TLS for gRPC and REST. Read again when it changes.
        rest_api_ssl: Whether REST speaks TLS where `ssl_config_file` is given. TensorFlow Serving's REST never does:
            give false where plain clients or probes ask it.
        use_alts_credentials: Not supported: ALTS works on Google Cloud only.
        auth_tokens_file: Who may ask: a line `name:token` or `name:sha256:<hex digest>` for each bearer token, followed
            by its scopes where it has not `predict,explain`. Read again when it changes. Without it everybody may.
        metrics_need_token: Whether the metrics need a token where `auth_tokens_file` is given. Health never does.
        max_request_bytes: Largest body of a REST request, and largest message over gRPC, as sent and decompressed.
        max_inflated_bytes: Largest body of a REST request in gzip, once inflated.
        max_json_depth: How deep a JSON document may be nested.
        max_concurrent_requests: Requests in the server at once, of REST and gRPC together; one more is refused at once.
            Health and metrics are always answered. 0: no limit.
        max_connections: Connections open at once, for REST and for gRPC each. 0: no limit.
        enable_grpc_healthcheck_service: Whether `grpc.health.v1.Health` is served. TensorFlow Serving has it off by
            default.
        enable_serialization_as_tensor_content: Whether gRPC answers hold `tensor_content` in place of the typed fields.
        enable_signature_method_name_check: Whether Predict refuses signatures whose `method_name` isn't one of
            TensorFlow Serving's.
        engine: A key of `serving.engines.registry.ENGINES`.
        device: `cpu`, `cuda` or `auto`.
        num_threads: Threads of one run of the engine; 0: as many as there are processors.
        saved_model_tags: Tags of the SavedModel's graph to load, with commas between them.
        tensorflow_session_parallelism: Threads of a TensorFlow session, within and between operations; 0:
            `num_threads`.
        tensorflow_intra_op_parallelism: Threads within an operation of TensorFlow; 0: `num_threads`.
        tensorflow_inter_op_parallelism: Operations of TensorFlow at once; 0: `num_threads`.
        tensorflow_session_config_file: A `ConfigProto` of TensorFlow in text format, on which the other flags build.
        per_process_gpu_memory_fraction: Share of the GPU's memory that TensorFlow takes at once, in [0, 1]; 0: as it
            needs it.
        mixed_precision: `bfloat16` has TensorFlow compute in it where that is safe; empty: as the model says.
        xla_cpu_compilation_enabled: Whether TensorFlow compiles for the CPU with XLA.
        xla_gpu_compilation_enabled: Whether TensorFlow compiles for the GPU with XLA.
        refuse_non_finite: Whether NaN and infinity in inputs are refused. None, the default: for bundles.
        grace_period_s: Seconds that requests in flight get to finish after SIGTERM.
        drain_delay_s: Seconds between failing readiness and closing the ports after SIGTERM, for load balancers to
            notice.
        enable_model_warmup: Whether a version's warm-up records (`assets.extra/tf_serving_warmup_requests`) are run
            before it is served, and bundles on zeros where they have none.
        num_request_iterations_for_warmup: How often each warm-up record is run; 0: once.
        monitoring_config_file: A `MonitoringConfig` in text format: whether and at which path REST shows the metrics
            for Prometheus. Without it they are at /monitoring/prometheus/metrics.
        request_log: A file for what the models are asked and what they answer, so that it can be replayed (`whyserve
            log`). It never holds up a request: what can't be written is counted.
        request_log_format: `jsonl` or `tfrecord` (of PredictionLog); empty: by the suffix of `request_log`.
        request_log_sampling_rate: Share of the requests that is logged, in [0, 1]. A model's own `logging_config` comes
            first.
        request_log_max_bytes: Size at which a request log is set aside as PATH.1; 0: never.
        request_log_max_files: How many files of a request log are kept.
        audit_log: A file for explanations, one chained line for each example explained, on the disk before the
            explanation is given; where it can't be written nothing is explained.
        audit_log_relevance: Whether the audit log holds the relevance itself.
        otlp_endpoint: Where spans of OpenTelemetry are sent over OTLP gRPC, as in `http://localhost:4317`; empty:
            nowhere. Needs the extra `tracing`.
        access_log: Whether the server's log has a line for every request.
        log_format: `text` or `json`: how the server's log is written to standard error.
    """

    port: int = 8500
    rest_api_port: int = 8501
    host: str = "0.0.0.0"  # noqa: S104 -- as tensorflow_model_server listens
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: Path | None = None
    model_repository: Path | None = None
    file_system_poll_wait_seconds: float = 1.0
    model_config_file_poll_wait_seconds: float = 0.0
    num_versions: int = 1
    allow_version_labels_for_unavailable_models: bool = False
    enable_admin_api: bool = False
    num_load_threads: int = 0
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    enable_batching: bool | None = None
    batching_parameters_file: Path | None = None
    enable_per_model_batching_parameters: bool = False
    max_batch_size: int = 64
    max_wait_ms: float = 0.0
    max_queued_requests: int = 1024
    max_explain_batch_size: int = 32
    max_queued_explanations: int = 256
    grpc_max_threads: int = 0
    explain_threads: int = 0
    rest_api_timeout_in_ms: int = 30_000
    rest_api_read_timeout_in_ms: int = 30_000
    rest_api_idle_timeout_in_ms: int = 75_000
    rest_api_enable_cors_support: bool = False
    rest_api_socket_path: str = ""
    grpc_socket_path: str = ""
    grpc_channel_arguments: str = ""
    ssl_config_file: Path | None = None
    rest_api_ssl: bool = True
    use_alts_credentials: bool = False
    auth_tokens_file: Path | None = None
    metrics_need_token: bool = True
    max_request_bytes: int = 256 << 20
    max_inflated_bytes: int = 100 << 20
    max_json_depth: int = MAX_JSON_DEPTH
    max_concurrent_requests: int = 0
    max_connections: int = 0
    enable_grpc_healthcheck_service: bool = True
    enable_serialization_as_tensor_content: bool = False
    enable_signature_method_name_check: bool = False
    engine: str = "onnxruntime"
    device: str = "auto"
    num_threads: int = 0
    saved_model_tags: str = "serve"
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    tensorflow_session_config_file: Path | None = None
    per_process_gpu_memory_fraction: float = 0.0
    mixed_precision: str = ""
    xla_cpu_compilation_enabled: bool = False
    xla_gpu_compilation_enabled: bool = False
    refuse_non_finite: bool | None = None
    grace_period_s: float = 30.0
    drain_delay_s: float = 1.0
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    monitoring_config_file: Path | None = None
    request_log: Path | None = None
    request_log_format: str = ""
    request_log_sampling_rate: float = 1.0
    request_log_max_bytes: int = 256 << 20
    request_log_max_files: int = 8
    audit_log: Path | None = None
    audit_log_relevance: bool = False
    otlp_endpoint: str = ""
    access_log: bool = False
    log_format: str = "text"


_AT_LEAST_ONE = (
    "num_versions",
    "max_batch_size",
    "max_queued_requests",
    "max_explain_batch_size",
    "max_queued_explanations",
    "rest_api_timeout_in_ms",
    "rest_api_read_timeout_in_ms",
    "rest_api_idle_timeout_in_ms",
    "max_request_bytes",
    "max_inflated_bytes",
    "max_json_depth",
    "request_log_max_files",
)
_AT_LEAST_ZERO = (
    "num_request_iterations_for_warmup",
    "request_log_max_bytes",
    "max_wait_ms",
    "grpc_max_threads",
    "explain_threads",
    "num_threads",
    "model_config_file_poll_wait_seconds",
    "num_load_threads",
    "num_unload_threads",
    "max_num_load_retries",
    "load_retry_interval_micros",
    "tensorflow_session_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "per_process_gpu_memory_fraction",
    "grace_period_s",
    "drain_delay_s",
    "max_concurrent_requests",
    "max_connections",
)


def check_options(options: ServerOptions) -> None:
    """Looks for what can't work, before anything is started.

    Raises:
        OptionsError: Names the option, what was expected and what came.
    """
    _check_ranges(options)
    _check_ports(options)
    _check_edge(options)
    _check_logs(options)
    _check_models(options)
    _check_batching(options)
    _check_tensorflow(options)
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
    sockets = options.grpc_socket_path or options.rest_api_socket_path
    if options.port == options.rest_api_port and (options.port or not sockets):
        raise OptionsError(
            "`port` and `rest_api_port` must differ, and one of them must be open. "
            f"Received: port={options.port}, rest_api_port={options.rest_api_port}."
        )


def _check_edge(options: ServerOptions) -> None:
    parse_channel_arguments(options.grpc_channel_arguments)
    if options.max_json_depth > MAX_JSON_DEPTH:
        raise OptionsError(
            f"`max_json_depth` must be at most {MAX_JSON_DEPTH}. Received: max_json_depth={options.max_json_depth}."
        )
    if options.use_alts_credentials:
        raise OptionsError(
            "`use_alts_credentials` is not supported: ALTS works between machines of Google Cloud only. Use "
            "`ssl_config_file`, with `client_verify: true` for mutual TLS. Received: use_alts_credentials=True."
        )
    if options.grpc_socket_path and options.grpc_socket_path == options.rest_api_socket_path:
        raise OptionsError(
            "`grpc_socket_path` and `rest_api_socket_path` must differ. "
            f"Received: grpc_socket_path={options.grpc_socket_path!r}, twice."
        )


def _check_logs(options: ServerOptions) -> None:
    if options.log_format not in LOG_FORMATS:
        raise OptionsError(
            f"`log_format` must be one of {list(LOG_FORMATS)}. Received: log_format={options.log_format!r}."
        )
    if options.request_log_format not in ("", *REQUEST_LOG_FORMATS):
        raise OptionsError(
            f"`request_log_format` must be one of {list(REQUEST_LOG_FORMATS)}. "
            f"Received: request_log_format={options.request_log_format!r}."
        )
    if not 0 <= options.request_log_sampling_rate <= 1:
        raise OptionsError(
            "`request_log_sampling_rate` must lie in [0, 1]. "
            f"Received: request_log_sampling_rate={options.request_log_sampling_rate!r}."
        )
    if options.request_log is not None and options.request_log == options.audit_log:
        raise OptionsError(f"`request_log` and `audit_log` must differ. Received: {str(options.audit_log)!r}, twice.")


def parse_channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """Reads `name=value,name=value`; a value that reads as an integer is one, as in TensorFlow Serving.

    Raises:
        OptionsError: An entry is no `name=value`.
    """
    arguments: list[tuple[str, int | str]] = []
    for entry in filter(None, text.split(",")):
        name, separator, value = entry.strip().partition("=")
        if not name or not separator:
            raise OptionsError(
                "`grpc_channel_arguments` must be name=value pairs with commas between them, as in "
                f"grpc.max_connection_age_ms=60000. Received: {entry!r}."
            )
        is_int32 = re.fullmatch(r"[+-]?[0-9]{1,10}", value) and -(2**31) <= int(value) < 2**31
        arguments.append((name, int(value) if is_int32 else value))
    return arguments


def _check_models(options: ServerOptions) -> None:
    # As in TensorFlow Serving, the file takes the place of the single model's flags.
    single = None if options.model_config_file is not None else options.model_base_path or None
    if [single, options.model_repository, options.model_config_file].count(None) != 2:
        raise OptionsError(
            "Exactly one of `model_base_path` (a model's folder, with version folders in it), `model_config_file` (a "
            "list of such folders) and `model_repository` (a folder of such folders) must be given. Received: "
            f"model_base_path={_text(options.model_base_path)}, model_config_file={_text(options.model_config_file)}, "
            f"model_repository={_text(options.model_repository)}."
        )
    if single is not None and not options.model_name:
        raise OptionsError("`model_name` must not be empty. Received: model_name=''.")


def _check_batching(options: ServerOptions) -> None:
    for name in ("batching_parameters_file", "enable_per_model_batching_parameters"):
        if getattr(options, name) and not options.enable_batching:
            raise OptionsError(f"server_options.{name} is set without setting server_options.enable_batching to true.")
    if options.batching_parameters_file is not None and options.enable_per_model_batching_parameters:
        raise OptionsError(
            "`batching_parameters_file` and `enable_per_model_batching_parameters` exclude each other: both say how "
            f"each model is batched. Received: {_text(options.batching_parameters_file)} and true."
        )


def _check_tensorflow(options: ServerOptions) -> None:
    if (
        options.tensorflow_session_parallelism
        and options.tensorflow_intra_op_parallelism
        and options.tensorflow_inter_op_parallelism
    ):
        raise OptionsError(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )
    if options.per_process_gpu_memory_fraction > 1:
        raise OptionsError(
            "`per_process_gpu_memory_fraction` must lie in [0, 1]. Received: "
            f"per_process_gpu_memory_fraction={options.per_process_gpu_memory_fraction!r}."
        )
    if options.mixed_precision not in ("", "bfloat16"):
        raise OptionsError(
            f"`mixed_precision` must be 'bfloat16' or empty. Received: mixed_precision={options.mixed_precision!r}."
        )


def _text(path: Path | str | None) -> str:
    return repr(str(path)) if path else "none"
