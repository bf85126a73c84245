import json
import multiprocessing
import re

import pytest

from models import run_folder
from models.errors import RunFolderError
from models.run_folder import RunRecord, check_folder, open_checkpoints, read_record, write_record

RECORD = RunRecord(
    architecture="cnn", task="classification", data={"name": "digits"}, class_labels=["0", "1"], seed=3,
    config={"a": 1}, packages={"keras": "3"}, duration_s=1.5, input_name="image", pixel_range=[0.0, 16.0],
    num_parameters=7, epochs=2, best_epoch=1, kept_epoch=1,
)  # fmt: skip


def finished_run(folder):
    for name in run_folder.RESULT_FILES:
        (folder / name).write_text("content")
    write_record(folder, RECORD)


def test_a_record_is_read_as_it_was_written(tmp_path):
    finished_run(tmp_path)
    assert read_record(tmp_path) == RECORD
    assert json.loads((tmp_path / "run.json").read_text())["schema_version"] == 1


def test_a_folder_without_a_record_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match=r"must be a run folder with a run.json. Received: no run\."):
        read_record(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunFolderError, match="an unfinished training; run the same command again"):
        read_record(tmp_path)


def test_a_run_that_lost_a_file_is_refused(tmp_path):
    finished_run(tmp_path)
    (tmp_path / "model.keras").unlink()
    with pytest.raises(RunFolderError, match=r"Missing: model.keras. Train it again"):
        read_record(tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_record_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunFolderError, match="must be a record as `whyserve train` writes it"):
        read_record(tmp_path)


def test_a_finished_run_is_not_overwritten_unasked(tmp_path):
    finished_run(tmp_path)
    with pytest.raises(RunFolderError, match=r"holds a finished run already. Choose another folder, or overwrite it"):
        check_folder(tmp_path, overwrite=False)
    check_folder(tmp_path, overwrite=True)


def test_overwriting_removes_the_run_and_nothing_else(tmp_path):
    finished_run(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with open_checkpoints(tmp_path, overwrite=True):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "notes.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match=r"must be empty or hold a run. Received: a folder with thesis.tex\."):
        check_folder(tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(RunFolderError, match=re.escape(f"Received: {path}, which is a file")):
        check_folder(path, overwrite=False)


def test_checkpoints_worth_continuing_stay_and_others_go(tmp_path):
    folder = tmp_path / "run"
    with open_checkpoints(folder, overwrite=False):
        pass
    assert not folder.exists()
    with open_checkpoints(folder, overwrite=False) as checkpoints:
        (checkpoints / "state.json").write_text("{}")
    check_folder(folder, overwrite=False)
    assert (folder / "checkpoints" / "state.json").is_file()


def hold(folder, ready, done):
    with open_checkpoints(folder, overwrite=False):
        ready.set()
        done.wait()


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "run", ready, done))
    process.start()
    try:
        assert ready.wait(30)
        with (
            pytest.raises(RunFolderError, match="One process at a time trains in a folder"),
            open_checkpoints(tmp_path / "run", overwrite=False),
        ):
            pass
        # A process that is killed holds nothing.
        process.kill()
        process.join()
        with open_checkpoints(tmp_path / "run", overwrite=False):
            pass
    finally:
        process.kill()
        process.join()
