"""The table of results, for a terminal and for the documentation."""

from collections.abc import Sequence

from whyserve.coverage.results import Result

COLUMNS = (
    "model", ">input", ">parameters", ">operations", "refused", ">predictions", ">formats", ">float64",
    ">rounding", ">left out", ">conservation", ">ratio ORT", ">ratio TF", ">s", ">GB", "result",
)  # fmt: skip

_INTRODUCTION = """\
# Coverage of `keras.applications`

Written by `whyserve coverage --markdown docs/coverage.md`; don't edit by hand.

Every model that Keras brings, at the smallest input it accepts and for 10 classes, is built, given weights that are
neither zero nor one anywhere (biases and scales drawn, batch normalisation set to the statistics of real images),
exported with explanations, and checked on 8 crops of real photographs.
{summary}

- **predictions**: the largest difference of SavedModel and ONNX from Keras (tolerance 1e-5).
- **formats**: the largest difference of an element of the relevance between SavedModel and ONNX (tolerance 1e-5).
- **float64**: the largest difference of an element of the relevance from the same pass in double precision (1e-4); a
  `*` marks models that could not be rebuilt in double precision and are held against single precision.
- **rounding**: how wide a tolerance became because rounding of the image alone moves the explanation as far
  (`export/conditioning.py`): at these sizes whole layers see one pixel, and sums that nearly cancel hand on a thousand
  times the rounding of their terms. Empty where no tolerance had to; never above 1e-2.
- **left out**: in how many of the 8 images the comparison that left out most left out elements, because rounding moves
  them further than that; more than a tenth of all elements fails.
- **conservation**: the largest part of the relevance that any step of the pass doesn't account for (1e-4).
- **ratio**: what an explanation with its prediction takes against the prediction alone, batch 1, median of
  interleaved pairs, in ONNX Runtime and in TensorFlow. At these small sizes it is mostly the number of operations:
  `whyserve benchmark` measures the sizes that are served.
- **s**, **GB**: of the whole check in a process of its own, and the most memory it held (10^9 bytes).

Differences are parts of the largest magnitude of that output.
"""


def rows(results: Sequence[Result]) -> list[list[str]]:
    """The cells of the table, one row a model."""
    return [_row(result) for result in results]


def markdown(results: Sequence[Result], *, total: int) -> str:
    """The page of the documentation: what was done, the table, the operations met, and what it was measured on.

    Args:
        results: Those to show.
        total: How many models there are.
    """
    passed = sum(result.passed for result in results)
    missing = f" The other {total - len(results)} of the {total} were not checked." if len(results) < total else ""
    lines = [_INTRODUCTION.format(summary=f"{passed} of {len(results)} pass.{missing}")]
    lines.append(_markdown_line([column.removeprefix(">") for column in COLUMNS]))
    lines.append(_markdown_line(["---:" if column.startswith(">") else "---" for column in COLUMNS]))
    lines += [_markdown_line(row) for row in rows(results)]
    failed = [result for result in results if not result.passed]
    if failed:
        lines += ["", "## What failed", ""]
        lines += [f"- **{result.model}** ({result.stage}): {_escaped(result.reason)}" for result in failed]
    lines += ["", "## Operations", "", _operations(results), "", "## Measured on", "", *_circumstances(results)]
    return "\n".join(lines) + "\n"


def _row(result: Result) -> list[str]:
    float64 = "float64" in (result.reference_name or "float64")
    return [
        result.model,
        "" if result.input_size is None else f"{result.input_size}x{result.input_size}",
        "" if result.parameters is None else f"{result.parameters / 1e6:.1f} M",
        str(len(result.operations) or ""),
        ", ".join(result.refused) or "none",
        _exponential(result.predictions),
        _exponential(result.formats),
        _exponential(result.reference) + ("" if float64 else "*"),
        _exponential(result.rounding or None),
        str(result.left_out or ""),
        _exponential(result.conservation),
        _ratio(result.ratios.get("onnxruntime")),
        _ratio(result.ratios.get("tensorflow")),
        "" if result.seconds is None else f"{result.seconds:.0f}",
        "" if result.peak_memory_gb is None else f"{result.peak_memory_gb:.1f}",
        result.status,
    ]


def _exponential(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _operations(results: Sequence[Result]) -> str:
    """Each type of operation with the number of models that hold it."""
    models: dict[str, int] = {}
    for kind in (kind for result in results for kind in result.operations):
        models[kind] = models.get(kind, 0) + 1
    ordered = sorted(models.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"`{kind}` ({count})" for kind, count in ordered) + "; in parentheses, in how many models."


def _circumstances(results: Sequence[Result]) -> list[str]:
    """Machines, versions and days, each once."""
    machines = sorted({result.machine for result in results if result.machine})
    days = sorted({result.finished[:10] for result in results if result.finished})
    versions = sorted({f"{name} {number}" for result in results for name, number in result.packages.items()})
    span = days[0] if len(days) == 1 else " to ".join((days[0], days[-1])) if days else "no day yet"
    return [*(f"- {machine}" for machine in machines), f"- {', '.join(versions)}", f"- {span}"]


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
