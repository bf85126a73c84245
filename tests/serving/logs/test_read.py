import numpy as np
import pytest

from serving.errors import Code
from serving.logs.read import Choice, LogError, flatten_columns, join_records, read_log, write_warmup
from serving.logs.records import Record, from_prediction_log, to_json_line, to_prediction_log
from serving.tfrecord import encode_record, read_records
from serving.types import ModelSpec


def record(number: int, *, rows: int = 1, model: str = "m", version: int = 1, signature: str = "s", **fields) -> Record:
    inputs = {"x": np.full((rows, 2), number, np.float32), "t": np.array([b"a"] * rows, object)}
    outputs = {"y": np.full((rows, 1), number / 10, np.float32)}
    return Record(ModelSpec(model, version, None, signature), inputs, outputs, **fields)


def numbers(records) -> list[float]:
    return [float(each.inputs["x"].flat[0]) for each in records]


def test_a_log_is_read_with_what_was_set_aside_oldest_first(tmp_path):
    for name, number in (("r.jsonl.2", 1), ("r.jsonl.1", 2), ("r.jsonl", 3)):
        (tmp_path / name).write_bytes(to_json_line(record(number)))
    assert numbers(read_log(tmp_path / "r.jsonl")) == [1, 2, 3]


def test_a_tfrecord_is_read_likewise(tmp_path):
    (tmp_path / "r.tfrecord").write_bytes(encode_record(to_prediction_log(record(1))))
    (read,) = read_log(tmp_path / "r.tfrecord")
    assert (read.spec, read.inputs["t"].tolist()) == (record(1).spec, [b"a"])


def test_a_last_line_that_is_not_whole_is_left_out(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(to_json_line(record(1)) + to_json_line(record(2))[:-1])
    assert numbers(read_log(path)) == [1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.jsonl", b"{}\n", "r.jsonl, whose line 1 is none: KeyError"),
        ("r.jsonl", b"[\n", "r.jsonl, whose line 1 is none: JSONDecodeError"),
        ("r.tfrecord", b"no records at all", "a TFRecord of PredictionLog. Received: .*r.tfrecord"),
        ("r.tfrecord", encode_record(b"\xff"), "a TFRecord of PredictionLog. Received: .*r.tfrecord"),
    ],
)
def test_a_file_that_is_no_log_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LogError, match=message):
        list(read_log(tmp_path / name))


def test_a_log_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LogError, match="which doesn't exist"):
        list(read_log(tmp_path / "r"))


def test_records_are_chosen_by_what_answered_and_only_what_succeeded():
    records = [
        record(1),
        record(2, model="other"),
        record(3, version=2),
        record(4, signature="explain"),
        record(5, code=Code.INTERNAL),
    ]
    assert numbers(filter(Choice().takes, records)) == [1, 2, 3, 4]
    assert numbers(filter(Choice(model="other").takes, records)) == [2]
    assert numbers(filter(Choice(version=2).takes, records)) == [3]
    assert numbers(filter(Choice(signature="explain").takes, records)) == [4]


def test_warm_up_takes_the_newest_record_of_each_shape(tmp_path):
    path = tmp_path / "warmup"
    count = write_warmup([record(1), record(2, rows=3), record(3), record(4, signature="explain")], path)
    written = [from_prediction_log(content) for content in read_records(path)]
    assert count == 3
    assert numbers(written) == [2, 3, 4]
    assert written[0].inputs["x"].shape == (3, 2)


def test_records_are_joined_example_by_example():
    arrays = join_records([record(1, rows=2), record(3, version=2)])
    assert list(arrays) == ["version", "inputs/x", "inputs/t", "outputs/y"]
    assert arrays["version"].tolist() == [1, 1, 2]
    assert arrays["inputs/x"].tolist() == [[1, 1], [1, 1], [3, 3]]
    assert arrays["outputs/y"].dtype == np.float32


def test_a_table_has_a_column_for_each_element():
    headings, rows = flatten_columns(join_records([record(1), record(2)]))
    assert headings == ["version", "inputs/x[0]", "inputs/x[1]", "inputs/t", "outputs/y[0]"]
    assert list(rows) == [(1, "1.0", "1.0", "a", "0.1"), (1, "2.0", "2.0", "a", "0.2")]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "at least one record"),
        ([record(1), record(2, signature="explain")], "of one model and signature. Received: m explain, m s"),
        (
            [record(1), Record(ModelSpec("m", 1, None, "s"), {"x": np.ones((1, 5), np.float32)}, {})],
            "Expected records with",
        ),
        (
            [Record(ModelSpec("m", 1, None, "s"), {"x": np.ones((1, size), np.float32)}, {}) for size in (2, 3)],
            r"Expected inputs/x of shape \(2,\) in every record, to join them. Received: \(3,\)",
        ),
        ([Record(ModelSpec("m", 1, None, "s"), {"x": np.array(1, np.float32)}, {})], "one first dimension in common"),
    ],
)
def test_what_cannot_be_joined_is_refused(records, message):
    with pytest.raises(LogError, match=message):
        join_records(records)
