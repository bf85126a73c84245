import json

import numpy as np
import pytest

from tests.whyserve.conftest import run_whyserve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(linear, rows):
    result = run_whyserve("faithfulness", linear, "--data", rows, "--baseline", 0, "--json")
    return json.loads(result.stdout)


def softmax(logit):
    return 1 / (1 + np.exp(-logit))


def test_relevance_takes_the_features_in_the_order_of_their_contribution(report, rows):
    """Of a linear model relevance and gradient times input are both weight times value: a, b, c, worked out by hand."""
    with np.load(rows) as arrays:
        a, b, _ = arrays["row"].T.astype(np.float64)
    deletion = softmax(np.stack([3 * a + b, b, 0 * a, 0 * a], axis=1))
    insertion = softmax(np.stack([0 * a, 3 * a, 3 * a + b, 3 * a + b], axis=1))
    for name in ("relevance", "gradient x input"):
        measured = report["measured"][name]
        for kind, curves in (("deletion", deletion), ("insertion", insertion)):
            np.testing.assert_allclose(measured[kind]["curve"], curves.mean(axis=0), atol=1e-6)
            areas = (curves[:, :-1] + curves[:, 1:]).sum(axis=1) / 6
            np.testing.assert_allclose(measured[kind]["areas"], areas, atol=1e-6)
            assert measured[kind]["area_error"] == pytest.approx(areas.std(ddof=1) / np.sqrt(12), abs=1e-6)
    assert report["measured"]["gradient x input"]["deletion"]["relevance_better_by"] == pytest.approx(0, abs=1e-6)
    assert report["measured"]["random"]["deletion"]["relevance_better_by"] > 0.05
    assert report["measured"]["random"]["insertion"]["relevance_better_by"] > 0.05
    assert (report["examples"], report["elements"], report["fractions"]) == (12, 3, pytest.approx([0, 1 / 3, 2 / 3, 1]))


def test_the_table_has_the_same_areas_at_the_same_seed_and_the_picture_is_written(report, linear, rows, tmp_path):
    picture = tmp_path / "curves.png"
    shown = run_whyserve("faithfulness", linear, "--data", rows, "--baseline", 0, "--out", picture).stdout
    assert "12 examples of" in shown
    for name, measured in report["measured"].items():
        (line,) = [line for line in shown.splitlines() if line.startswith(f"\u2502 {name} ")]
        for kind in ("deletion", "insertion"):
            assert f"{measured[kind]['area']:.4f} \N{PLUS-MINUS SIGN} {measured[kind]['area_error']:.4f}" in line
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [(("--baseline", "x"), 2, "--baseline mean or a number. Received: x"), (("--data", "nope"), 1, "fashion_mnist")],
)
def test_what_can_not_be_is_refused(linear, rows, options, status, text):
    result = run_whyserve("faithfulness", linear, "--data", rows, *options, status=status)
    assert text in result.stderr
