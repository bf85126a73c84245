import pytest

from serving.batching import BatchLimits
from serving.config.batching import BatchingParameters, read_batching_parameters
from serving.errors import ServingError


def read(tmp_path, text):
    path = tmp_path / "batching.config"
    path.write_text(text)
    return read_batching_parameters(path)


def test_the_parameters_bound_the_queue(tmp_path):
    parameters = read(
        tmp_path,
        "max_batch_size { value: 128 } batch_timeout_micros { value: 2500 } max_enqueued_batches { value: 3 } "
        'num_batch_threads { value: 8 } thread_pool_name { value: "pool" } allowed_batch_sizes: 16 '
        "allowed_batch_sizes: 128 pad_variable_length_inputs: true",
    )
    assert (parameters.num_batch_threads, parameters.thread_pool_name) == (8, "pool")
    assert parameters.limits() == BatchLimits(
        max_batch_size=128,
        max_wait_s=0.0025,
        max_queued_requests=384,  # 3 batches of 128 rows
        max_queued_rows=384,
        max_request_rows=128,
        allowed_batch_sizes=(16, 128),
        pad_variable_length_inputs=True,
    )


def test_what_is_left_out_is_as_in_tensorflow_serving(tmp_path):
    assert read(tmp_path, "") == BatchingParameters()
    limits = read(tmp_path, "").limits()
    assert (limits.max_batch_size, limits.max_wait_s, limits.max_queued_rows) == (1000, 0.0, 10_000)


def test_large_requests_are_split_where_it_is_asked_for(tmp_path):
    text = "max_batch_size { value: 64 } max_execution_batch_size { value: 16 } allowed_batch_sizes: 16"
    split = read(tmp_path, f"{text} enable_large_batch_splitting {{ value: true }}").limits()
    assert (split.max_batch_size, split.max_request_rows) == (16, 64)
    whole = read(tmp_path, "max_batch_size { value: 64 } max_execution_batch_size { value: 16 }").limits()
    assert (whole.max_batch_size, whole.max_request_rows) == (64, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allowed_batch_sizes: 2 allowed_batch_sizes: 1", "entries must be monotonically increasing"),
        ("max_batch_size { value: 0 }", "`max_batch_size` must be at least 1. Received: max_batch_size { value: 0 }"),
        ("num_batch_threads { value: 0 }", "`num_batch_threads` must be at least 1"),
        (
            "max_batch_size {value: 2} max_execution_batch_size {value: 3} enable_large_batch_splitting {value: true}",
            "`max_execution_batch_size` must be at most `max_batch_size`. Received: 3 and 2",
        ),
        ("max_batch_size: 8", "Invalid protobuf file"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, text, message):
    with pytest.raises(ServingError, match=message):
        read(tmp_path, text)
