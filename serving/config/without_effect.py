"""Flags of `tensorflow_model_server` that have nothing to act on here: each is taken, and answered with the reason."""

from collections.abc import Collection
from dataclasses import dataclass

from serving.grpc.channel_arguments import explain_arguments
from serving.options import ServerOptions, parse_channel_arguments


@dataclass(frozen=True)
class WithoutEffect:
    """A flag that is taken and does nothing.

    Attributes:
        kind: `bool`, `int` or `str`: what its value must read as.
        reason: Why it has no effect here.
    """

    kind: type
    reason: str


WITHOUT_EFFECT: dict[str, WithoutEffect] = {
    "rest_api_num_threads": WithoutEffect(
        int, "REST is answered on one event loop; grpc_max_threads and explain_threads bound the threads of both."
    ),
    "flush_filesystem_caches": WithoutEffect(
        bool, "files are read once when a version is loaded, and the kernel drops them when memory runs short."
    ),
    "enable_profiler": WithoutEffect(
        bool, "TensorFlow's profiler service isn't served; metrics and traces say where the time goes."
    ),
    "platform_config_file": WithoutEffect(
        str,
        "there is one platform, the engine. Give what the file says by batching_parameters_file, saved_model_tags and "
        "tensorflow_session_config_file.",
    ),
    "thread_pool_factory_config_file": WithoutEffect(
        str, "thread pools can't be plugged in. num_threads, grpc_max_threads and explain_threads set their sizes."
    ),
    "prefer_tflite_model": WithoutEffect(
        bool, "TensorFlow Lite models aren't served: the SavedModel or the bundle's ONNX files are."
    ),
    "num_tflite_pools": WithoutEffect(int, "TensorFlow Lite models aren't served."),
    "num_tflite_interpreters_per_pool": WithoutEffect(int, "TensorFlow Lite models aren't served."),
    "remove_unused_fields_from_bundle_metagraph": WithoutEffect(
        bool, "the graph's description is dropped once a model is loaded, all of it."
    ),
    "skip_initialize_tpu": WithoutEffect(bool, "there is no support for TPUs, so that none is initialized."),
}

TENSORFLOW_ONLY: dict[str, str] = {
    "saved_model_tags": "a bundle's ONNX files have no tags",
    "tensorflow_session_parallelism": "num_threads sets the threads of ONNX Runtime",
    "tensorflow_intra_op_parallelism": "num_threads sets the threads of ONNX Runtime",
    "tensorflow_inter_op_parallelism": "ONNX Runtime runs the operations of a model one after another",
    "tensorflow_session_config_file": "it configures TensorFlow's sessions",
    "per_process_gpu_memory_fraction": "ONNX Runtime takes the GPU's memory as it needs it",
    "mixed_precision": "ONNX Runtime computes in the types of the exported graph",
    "xla_cpu_compilation_enabled": "XLA is TensorFlow's compiler",
    "xla_gpu_compilation_enabled": "XLA is TensorFlow's compiler",
}
"""Flags that act on the engine `tensorflow` alone, with the reason why the other has no use for them."""


def explain_without_effect(options: ServerOptions, given: Collection[str]) -> list[str]:
    """A line for each flag that was given and has no effect.

    Args:
        options: What the server is started with.
        given: Names of the flags that were given.
    """
    notes = [f"--{name} has no effect here: {WITHOUT_EFFECT[name].reason}" for name in given if name in WITHOUT_EFFECT]
    if options.engine != "tensorflow":
        notes += [
            f"--{name} has no effect with --engine={options.engine}: {TENSORFLOW_ONLY[name]}."
            for name in given
            if name in TENSORFLOW_ONLY
        ]
    if options.batching_parameters_file is not None:
        notes += [
            f"--{name} has no effect beside --batching_parameters_file, which says it."
            for name in ("max_batch_size", "max_queued_requests")
            if name in given
        ]
    if options.model_config_file is not None:
        notes += [
            f"--{name} has no effect beside --model_config_file, which says it."
            for name in ("model_name", "model_base_path", "num_versions")
            if name in given
        ]
    return notes + explain_arguments(parse_channel_arguments(options.grpc_channel_arguments))
