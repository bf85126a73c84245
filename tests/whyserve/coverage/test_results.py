import pytest

from whyserve.coverage.results import FAILED, PASSED, Result, finished_results, load_result, result_path, save_result


def test_a_result_is_read_back_as_it_was_written(tmp_path):
    result = Result("a", PASSED, input_size=32, ratios={"onnxruntime": 2.5}, refused=["Cumprod"])
    save_result(tmp_path, result)
    assert load_result(tmp_path, "a") == result
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": "a", "unknown": 1}', "{}"])
def test_a_file_of_another_kind_is_no_result(tmp_path, text):
    result_path(tmp_path, "a").write_text(text)
    assert load_result(tmp_path, "a") is None


def test_what_was_interrupted_is_not_finished(tmp_path):
    save_result(tmp_path, Result("passed", PASSED))
    save_result(tmp_path, Result("failed", FAILED))
    save_result(tmp_path, Result("interrupted"))
    assert list(finished_results(tmp_path, ["passed", "failed", "interrupted", "never"])) == ["passed", "failed"]
