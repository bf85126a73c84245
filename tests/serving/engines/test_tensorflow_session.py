import pytest

from serving.engines.settings import SessionSettings
from serving.engines.tensorflow_session import make_session_config, read_session_config
from serving.errors import StartError

pytestmark = pytest.mark.slow  # imports TensorFlow


@pytest.fixture(scope="module")
def config_proto():
    import tensorflow as tf

    return tf.compat.v1.ConfigProto


def make(config_proto, *, base="", gpu=True, **settings):
    config = config_proto()
    if base:
        from google.protobuf import text_format

        text_format.Parse(base, config)
    return make_session_config(config, SessionSettings(**settings), 3, gpu=gpu)


def test_threads_are_those_of_the_flag_then_of_the_file_then_of_the_engine(config_proto):
    file = "intra_op_parallelism_threads: 5 inter_op_parallelism_threads: 6"

    def threads(config):
        return config.intra_op_parallelism_threads, config.inter_op_parallelism_threads

    assert threads(make(config_proto)) == (3, 3)
    assert threads(make(config_proto, base=file)) == (5, 6)
    assert threads(make(config_proto, base=file, intra_op_threads=7)) == (7, 6)


def test_the_gpus_memory_is_taken_as_it_is_needed_unless_a_share_is_given(config_proto):
    assert make(config_proto).gpu_options.allow_growth
    share = make(config_proto, gpu_memory_fraction=0.25).gpu_options
    assert (share.per_process_gpu_memory_fraction, share.allow_growth) == (0.25, False)
    assert make(config_proto, gpu=False).device_count["GPU"] == 0


def test_precision_and_compilation_follow_their_flags(config_proto):
    plain = make(config_proto).graph_options
    assert (plain.rewrite_options.auto_mixed_precision_onednn_bfloat16, plain.optimizer_options.global_jit_level) == (
        0,
        0,
    )
    options = make(config_proto, mixed_precision="bfloat16", xla_cpu=True).graph_options
    assert options.rewrite_options.auto_mixed_precision_onednn_bfloat16 == options.rewrite_options.ON
    assert options.optimizer_options.global_jit_level == options.optimizer_options.ON_1
    assert options.optimizer_options.cpu_global_jit


def test_a_file_that_is_no_session_configuration_is_refused(tmp_path, config_proto):
    path = tmp_path / "session.config"
    path.write_text("allow_soft_placement: true")
    assert read_session_config(path, config_proto()).allow_soft_placement
    path.write_text("soft: true")
    with pytest.raises(StartError, match=rf"^Invalid protobuf file: '{path}'.*no field named \"soft\""):
        read_session_config(path, config_proto())
    with pytest.raises(StartError, match=r"must be a readable file. Received: No such file"):
        read_session_config(tmp_path / "none", config_proto())
