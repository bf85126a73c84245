import json

import pytest

from models.files import remove_temporaries, write_atomically, write_json


def test_json_is_written_and_replaced(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    write_json(tmp_path / "a.json", {"x": [1.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1.5, None]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_json_refuses_nan_and_leaves_what_was_there(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "model.keras"
    target.write_text("whole")

    def fail(path):
        assert path.suffix == ".keras"
        path.write_text("ha")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, fail)
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".writing-77.model.keras").write_text("ha")
    (tmp_path / "model.keras").write_text("whole")
    remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
