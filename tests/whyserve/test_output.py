import json

import numpy as np

from whyserve.output import print_json, print_table, step


def test_json_is_one_object_with_arrays_as_lists(capsys):
    strided = np.arange(6, dtype=np.float32).reshape(2, 3).T
    print_json({"a": np.float32(0.5), "b": strided, "c": np.array([b"x", b"\xff"], object), "d": float("nan"), 3: None})
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"a": 0.5, "b": [[0, 3], [1, 4], [2, 5]], "c": ["x", "\ufffd"], "d": None, "3": None}


def test_a_table_keeps_long_cells_whole_and_brackets_literal(capsys):
    text = "[bold]" + "x" * 100
    print_table("title", ["name", ">value"], [(text, 1.5), (None, 2)])
    shown = capsys.readouterr().out
    assert text in shown
    assert "1.5" in shown


def test_a_step_says_what_is_done_and_how_long_it_took():
    lines = []
    with step("working", say=lines.append):
        lines.append("inside")
    assert lines[0] == "-- working"
    assert lines[1] == "inside"
    assert lines[2].endswith(" s")
