"""Some of the attacks on a server that runs the TensorFlow engine."""

import pytest

from tests.robustness.attack import attacked
from tests.robustness.check_grpc import (  # noqa: F401 -- collected here too, for this module's server
    channel,
    test_a_request_with_one_byte_wrong_gets_a_status,
    test_a_tensor_that_claims_to_be_huge_is_refused_without_the_memory,
    test_deadlines_that_have_almost_passed_and_calls_that_are_cancelled_leave_nothing,
    test_tensors_whose_shape_dtype_and_content_disagree_get_a_status,
)
from tests.robustness.check_http import (  # noqa: F401 -- likewise
    test_clients_that_do_not_read_their_answers_hinder_nobody,
    test_deep_documents_are_refused,
)


@pytest.fixture(scope="module")
def server(saved_model, tmp_path_factory):
    limits = ("--max_request_bytes=4000000", "--max_inflated_bytes=4000000")
    with attacked(saved_model, tmp_path_factory.mktemp("server"), *limits, engine="tensorflow") as server:
        yield server
