import pytest

from whyserve.coverage.report import COLUMNS, markdown, rows
from whyserve.coverage.results import Result

PASSED = Result(
    "MobileNet",
    "passed",
    input_size=32,
    parameters=3239114,
    operations={"Conv2D": 15, "Relu6": 27},
    predictions=7.22e-6,
    formats=3.1e-6,
    reference=6.24e-6,
    reference_name="Keras (relevance in float64)",
    rounding=2.34e-4,
    left_out=1,
    conservation=5.26e-7,
    ratios={"onnxruntime": 2.514, "tensorflow": 2.6},
    seconds=61.3,
    peak_memory_gb=1.85,
    finished="2026-11-20T11:30:09+00:00",
    machine="a processor, 2 cores",
    packages={"keras": "3.15.1"},
)
FAILED = Result("Broken", "failed", reason="a | b\n  " + "c" * 80, stage="building", operations={"Conv2D": 1})


def test_a_row_has_a_cell_for_each_column():
    assert [len(row) for row in rows([PASSED, FAILED])] == [len(COLUMNS)] * 2


def test_a_passed_model_shows_its_figures():
    (row,) = rows([PASSED])
    assert row == [
        "MobileNet", "32x32", "3.2 M", "2", "none", "7.2e-06", "3.1e-06", "6.2e-06", "2.3e-04", "1", "5.3e-07", "2.51",
        "2.60", "61", "1.9", "passed",
    ]  # fmt: skip


def test_a_failed_model_shows_what_is_known():
    (row,) = rows([FAILED])
    assert row == ["Broken", "", "", "1", "none", *[""] * 10, "failed"]


@pytest.mark.parametrize(
    ("name", "mark"), [("Keras (relevance in float64)", ""), ("Keras (relevance in float32)", "*")]
)
def test_relevance_held_against_single_precision_is_marked(name, mark):
    (row,) = rows([Result("a", reference=1e-6, reference_name=name)])
    assert row[7] == f"1.0e-06{mark}"


def test_the_page_holds_table_failures_operations_and_circumstances():
    page = markdown([PASSED, FAILED], total=2)
    lines = page.splitlines()
    assert "1 of 2 pass." in page
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert {line.replace("\\|", "").count("|") for line in table} == {len(COLUMNS) + 1}
    assert "- **Broken** (building): a \\| b " + "c" * 80 in lines
    assert "`Conv2D` (2), `Relu6` (1); in parentheses, in how many models." in lines
    assert lines[-3:] == ["- a processor, 2 cores", "- keras 3.15.1", "- 2026-11-20"]


def test_the_page_tells_of_models_that_it_leaves_out():
    assert "1 of 1 pass. The other 39 of the 40 were not checked." in markdown([PASSED], total=40)
    assert "not checked" not in markdown([PASSED], total=1)
