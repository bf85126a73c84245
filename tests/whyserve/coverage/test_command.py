import json

from tests.whyserve.conftest import run_whyserve
from whyserve.coverage.catalogue import APPLICATIONS
from whyserve.coverage.results import Result, save_result


def results(folder, *, failed=()):
    for name in APPLICATIONS:
        status = "failed" if name in failed else "passed"
        save_result(folder, Result(name, status, reason="no rule" if failed else "", seconds=1.0, peak_memory_gb=1.0))


def test_results_that_are_there_become_table_page_and_json(tmp_path):
    results(tmp_path)
    page = tmp_path / "docs" / "coverage.md"
    done = run_whyserve("coverage", "--out", tmp_path, "--markdown", page)
    assert f"{len(APPLICATIONS)} of {len(APPLICATIONS)} models pass" in done.stdout
    assert "| MobileNet | " in page.read_text()
    content = json.loads(run_whyserve("coverage", "--out", tmp_path, "--models", "ResNet50*", "--json").stdout)
    assert content["passed"] == 2
    assert [model["model"] for model in content["models"]] == ["ResNet50", "ResNet50V2"]


def test_the_status_is_1_if_a_model_failed(tmp_path):
    results(tmp_path, failed=["VGG16"])
    done = run_whyserve("coverage", "--out", tmp_path, "--models", "VGG*", status=1)
    assert "1 of 2 models pass" in done.stdout
    assert "VGG16 (starting): no rule" in done.stdout


def test_a_pattern_that_matches_nothing_is_told(tmp_path):
    done = run_whyserve("coverage", "--out", tmp_path, "--models", "AlexNet", status=1)
    assert "Received: 'AlexNet', which matches none" in done.stderr
