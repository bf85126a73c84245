"""Arguments of gRPC's core, against what grpcio documents of them."""

import pytest

from serving.grpc.channel_arguments import apply_arguments, explain_arguments
from serving.grpc.http2.limits import NEVER_S, Limits


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("grpc.max_concurrent_streams", 7, "max_concurrent_streams", 7),
        ("grpc.max_receive_message_length", 10, "max_receive_bytes", 10),
        ("grpc.max_receive_message_length", -1, "max_receive_bytes", None),
        ("grpc.max_send_message_length", 5, "max_send_bytes", 5),
        ("grpc.max_connection_age_ms", 2500, "max_age_s", 2.5),
        ("grpc.max_connection_age_ms", 2**31 - 1, "max_age_s", NEVER_S),
        ("grpc.max_connection_idle_ms", 100, "max_idle_s", 0.1),
        ("grpc.keepalive_time_ms", 100, "keepalive_time_s", 0.1),
        ("grpc.keepalive_permit_without_calls", 1, "keepalive_without_calls", True),
        ("grpc.http2.max_ping_strikes", 0, "max_ping_strikes", 0),
        ("grpc.http2.lookahead_bytes", 1, "stream_window_bytes", 65_535),
        ("grpc.http2.max_frame_size", 1 << 20, "max_frame_bytes", 1 << 20),
    ],
)
def test_an_argument_sets_its_limit_and_no_other(name: str, value: int, field: str, expected: object) -> None:
    limits = apply_arguments([(name, value)], Limits())
    assert getattr(limits, field) == expected
    assert {each for each, given in vars(Limits()).items() if getattr(limits, each) != given} <= {field}


def test_the_last_counts_and_the_connection_s_window_is_no_smaller_than_a_stream_s() -> None:
    arguments = [("grpc.http2.lookahead_bytes", 1 << 20), ("grpc.http2.lookahead_bytes", 1 << 26)]
    limits = apply_arguments(arguments, Limits())
    assert (limits.stream_window_bytes, limits.connection_window_bytes) == (1 << 26, 1 << 26)


def test_what_has_no_effect_is_named() -> None:
    arguments: list[tuple[str, int | str]] = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_concurrent_streams", "many"),
        ("grpc.keepalive_time_ms", 5),
    ]
    notes = explain_arguments(arguments)
    assert len(notes) == 2
    assert "grpc.so_reuseport has no effect here" in notes[0]
    assert "grpc.max_concurrent_streams must be an integer. Received: 'many'" in notes[1]
    assert apply_arguments(arguments, Limits()) == Limits(keepalive_time_s=0.005)
