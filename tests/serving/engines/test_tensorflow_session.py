import pytest

from serving.engines.settings import SessionSettings
from serving.engines.tensorflow_session import make_session_config, read_session_config
from serving.errors import StartError

pytestmark = pytest.mark.slow  # imports TensorFlow


@pytest.fixture(params=["ours", "of a file"])
def make(request, tmp_path):
    """Makes a configuration from flags and, in the second case, a file; as TensorFlow's own message reads it."""
    from tensorflow.core.protobuf import config_pb2

    def make_config(*, base="", gpu=True, num_threads=3, **settings):
        path = None
        if request.param == "of a file" or base:
            path = tmp_path / "session.config"
            path.write_text(base)
        config = make_session_config(read_session_config(path), SessionSettings(**settings), num_threads, gpu=gpu)
        return config_pb2.ConfigProto.FromString(config.SerializeToString())

    return make_config


def test_threads_are_those_of_the_flag_then_of_the_file_then_of_the_engine(make):
    file = "intra_op_parallelism_threads: 5 inter_op_parallelism_threads: 6"

    def threads(config):
        return config.intra_op_parallelism_threads, config.inter_op_parallelism_threads

    assert threads(make()) == (3, 3)
    assert threads(make(base=file)) == (5, 6)
    assert threads(make(base=file, intra_op_threads=7)) == (7, 6)
    assert threads(make(num_threads=1)) == (1, -1)  # -1: in the thread that calls
    assert threads(make(num_threads=1, inter_op_threads=1)) == (1, 1)


def test_the_gpus_memory_is_taken_as_it_is_needed_unless_a_share_is_given(make):
    assert make().gpu_options.allow_growth
    share = make(gpu_memory_fraction=0.25).gpu_options
    assert (share.per_process_gpu_memory_fraction, share.allow_growth) == (0.25, False)
    assert make(gpu=False).device_count["GPU"] == 0


def test_precision_and_compilation_follow_their_flags(make):
    plain = make().graph_options
    assert (plain.rewrite_options.auto_mixed_precision_onednn_bfloat16, plain.optimizer_options.global_jit_level) == (
        0,
        0,
    )
    options = make(mixed_precision="bfloat16", xla_cpu=True).graph_options
    assert options.rewrite_options.auto_mixed_precision_onednn_bfloat16 == options.rewrite_options.ON
    assert options.optimizer_options.global_jit_level == options.optimizer_options.ON_1
    assert options.optimizer_options.cpu_global_jit


def test_a_file_that_is_no_session_configuration_is_refused(tmp_path):
    path = tmp_path / "session.config"
    path.write_text("allow_soft_placement: true")
    assert read_session_config(path).allow_soft_placement
    path.write_text("soft: true")
    with pytest.raises(StartError, match=rf"^Invalid protobuf file: '{path}'.*no field named \"soft\""):
        read_session_config(path)
    with pytest.raises(StartError, match=r"must be a readable file. Received: No such file"):
        read_session_config(tmp_path / "none")
