"""What the options come to: the engine, how it runs, and the models."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serving.batching import BatchLimits
from serving.config.checks import find_folder
from serving.config.models import TENSORFLOW_PLATFORM, Latest, ModelConfig
from serving.engines.base import Engine
from serving.engines.cpu import count_cpus
from serving.engines.registry import create_engine
from serving.engines.settings import SessionSettings
from serving.errors import ServingError, StartError
from serving.loader import LoadOptions
from serving.options import ServerOptions
from serving.repository import find_versions, list_models
from serving.servable import ExecutionOptions
from serving.warmup import WarmUpOptions

logger = logging.getLogger(__name__)

_MICROSECONDS = 1e6


def make_engine(options: ServerOptions) -> Engine:
    """The engine that was asked for.

    Raises:
        StartError: It isn't installed.
    """
    threads = options.tensorflow_session_parallelism
    session = SessionSettings(
        tags=tuple(tag.strip() for tag in options.saved_model_tags.split(",") if tag.strip()),
        intra_op_threads=options.tensorflow_intra_op_parallelism or threads,
        inter_op_threads=options.tensorflow_inter_op_parallelism or threads,
        config_file=options.tensorflow_session_config_file,
        gpu_memory_fraction=options.per_process_gpu_memory_fraction,
        mixed_precision=options.mixed_precision,
        xla_cpu=options.xla_cpu_compilation_enabled,
        xla_gpu=options.xla_gpu_compilation_enabled,
    )
    try:
        return create_engine(
            options.engine, device=options.device, num_threads=options.num_threads or None, session=session
        )
    except ImportError as error:
        raise StartError(
            f"Engine {options.engine!r} needs a package that isn't installed: {error}. Install it, or choose another."
        ) from error


def make_execution(options: ServerOptions) -> ExecutionOptions:
    """How the models run.

    Raises:
        StartError: The batching parameters can't be read, or contradict themselves.
    """
    cpus = count_cpus()
    predict = BatchLimits(options.max_batch_size, options.max_wait_ms / 1000, options.max_queued_requests)
    num_threads, thread_name = options.grpc_max_threads or cpus, "predict"
    if options.batching_parameters_file is not None:
        from serving.config.batching import read_batching_parameters

        try:
            parameters = read_batching_parameters(options.batching_parameters_file)
        except ServingError as error:
            raise StartError(error.message) from error
        predict = parameters.limits()
        num_threads = parameters.num_batch_threads or num_threads
        if parameters.thread_pool_name:
            thread_name = parameters.thread_pool_name
            logger.warning(
                "`thread_pool_name` of %s names threads only: in the metrics it is 'predict' or 'explain'.",
                options.batching_parameters_file,
            )
    return ExecutionOptions(
        predict_threads=ThreadPoolExecutor(num_threads, thread_name_prefix=thread_name),
        explain_threads=ThreadPoolExecutor(options.explain_threads or max(1, cpus // 2), thread_name_prefix="explain"),
        predict=predict,
        explain=BatchLimits(
            options.max_explain_batch_size, options.max_wait_ms / 1000, options.max_queued_explanations
        ),
        batching=options.enable_batching,
        refuse_non_finite=options.refuse_non_finite,
        warm_up=WarmUpOptions(options.enable_model_warmup, options.num_request_iterations_for_warmup),
    )


def make_load_options(options: ServerOptions) -> LoadOptions:
    """How versions are loaded."""
    return LoadOptions(
        num_load_threads=options.num_load_threads,
        num_unload_threads=options.num_unload_threads,
        max_num_load_retries=options.max_num_load_retries,
        load_retry_interval_s=options.load_retry_interval_micros / _MICROSECONDS,
        per_model_batching=options.enable_per_model_batching_parameters,
    )


def platforms(options: ServerOptions) -> frozenset[str]:
    """What a configuration may call the engine: TensorFlow Serving's only platform, or the engine's own name."""
    return frozenset({TENSORFLOW_PLATFORM, options.engine})


def make_model_configs(options: ServerOptions) -> Sequence[ModelConfig]:
    """The models of the configuration file or the single model; none where a repository is served.

    Raises:
        StartError: The file can't be used, or a path is of one kind in place of another.
    """
    if options.model_config_file is not None:
        from serving.config.model_list import read_model_config_file

        try:
            return read_model_config_file(options.model_config_file, platforms=platforms(options), may_be_empty=True)
        except ServingError as error:
            raise StartError(error.message) from error
    if options.model_repository is not None:
        _check_repository(options.model_repository)
        return []
    return [_single_model(options)] if options.model_base_path else []


def _single_model(options: ServerOptions) -> ModelConfig:
    try:
        base_path = find_folder(options.model_name, options.model_base_path)
    except ServingError as error:
        raise StartError(error.message) from error
    if not base_path.is_dir():
        raise StartError(
            f"`model_base_path` must be a folder with version folders in it. Received: {base_path}, which is none."
        )
    if not find_versions(base_path) and (models := list_models(base_path)):
        raise StartError(
            f"`model_base_path` must hold version folders (as 1). Received: {base_path}, which holds the models "
            f"{sorted(models)}. Use --model_repository={base_path}, or --model_base_path={next(iter(models.values()))}."
        )
    return ModelConfig(options.model_name, base_path, Latest(options.num_versions))


def _check_repository(repository: Path) -> None:
    models = list_models(repository)
    if models is None:
        raise StartError(
            f"`model_repository` must be a folder with model folders in it. Received: {repository}, which is none."
        )
    if not models and find_versions(repository):
        raise StartError(
            f"`model_repository` must hold model folders with version folders in them. Received: {repository}, which "
            f"holds versions itself. Use --model_base_path={repository}."
        )
