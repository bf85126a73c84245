from models.progress import TerminalProgress


def test_lines_go_to_standard_error_and_results_keep_standard_output(capsys):
    with TerminalProgress() as progress:
        for done in range(4):
            progress.step("epoch 1/1", done, 3)
        progress.message("epoch 1/1  loss 0.5 [bracketed]")
        progress.step("epoch 2/2", 1, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "epoch 1/1  loss 0.5 [bracketed]" in captured.err
