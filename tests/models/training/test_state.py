import pytest

from models.errors import RunFolderError
from models.training.state import TrainingState, load_state, save_state, weights_file

CONFIG = {"epochs": 9, "optimizer": "adamw"}


def state(*losses):
    return TrainingState(CONFIG, "digest", {"val_loss": list(losses)}, [[3, 17]], 2.5)


def test_the_best_epoch_is_the_first_with_the_smallest_loss():
    assert state(3.0, 1.0, 2.0, 1.0).best_epoch == 2


@pytest.mark.parametrize(
    ("losses", "epochs", "patience", "finished"),
    [
        ((), 9, 1, False),
        ((3.0, 1.0), 9, None, False),
        ((3.0, 1.0), 2, None, True),
        ((3.0, 1.0, 2.0), 9, 2, False),
        ((3.0, 1.0, 2.0, 1.0), 9, 2, True),
        ((3.0, 1.0, 2.0, 0.5), 9, 2, False),
    ],
)
def test_a_training_is_finished_after_its_epochs_or_its_patience(losses, epochs, patience, finished):
    assert state(*losses).is_finished(epochs, patience) is finished


def test_nothing_committed_is_a_state_of_no_epochs(tmp_path):
    assert load_state(tmp_path, CONFIG, "digest") == TrainingState(CONFIG, "digest")


def test_a_state_is_read_as_it_was_committed_and_keeps_the_latest_and_the_best_weights(tmp_path):
    for epoch in range(1, 5):
        weights_file(tmp_path, epoch).write_text("weights")
    committed = state(3.0, 1.0, 2.0, 1.5)
    save_state(tmp_path, committed)
    assert load_state(tmp_path, CONFIG, "digest") == committed
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["epoch-00002.weights.h5", "epoch-00004.weights.h5"]


def test_weights_that_were_written_but_not_committed_do_not_count(tmp_path):
    weights_file(tmp_path, 1).write_text("weights")
    save_state(tmp_path, state(3.0))
    weights_file(tmp_path, 2).write_text("written before the process was killed")
    assert load_state(tmp_path, CONFIG, "digest").epochs == 1


def test_another_training_is_not_continued(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    save_state(folder, state(3.0))
    with pytest.raises(
        RunFolderError, match=r"with other options: epochs=9 there, 12 now; optimizer='adamw' there, 'sgd' now\."
    ):
        load_state(folder, {"epochs": 12, "optimizer": "sgd"}, "digest")
    with pytest.raises(RunFolderError, match=r"data digest digest there, other now\. Continue it with its own options"):
        load_state(folder, CONFIG, "other")
