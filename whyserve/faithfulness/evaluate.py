"""Measures deletion and insertion curves of a bundle's explanations, of random ones and of gradient times input."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.manifest import load_manifest
from models.progress import Progress
from whyserve.client.bundle import BundleClient
from whyserve.errors import CommandError
from whyserve.faithfulness.curves import area, counts, curve, perturbed, ranks
from whyserve.faithfulness.elements import Arrays, Elements, default_region, mean_baseline
from whyserve.faithfulness.report import DELETION, GRADIENT, INSERTION, RANDOM, RELEVANCE, Measured, Report, measure

MEAN = "mean"
BATCH_SIZE = 64


@dataclass(frozen=True)
class Settings:
    """How curves are measured.

    Args:
        steps: Points of a curve after the first, at most one an element.
        baseline: `mean` of the data, or a number, as text.
        region: Side of the regions of an image in pixels; None: a seventh of the image's, as RISE's masks have it.
        random_seeds: How many random attributions each example gets.
        seed: Of everything that is drawn.
    """

    steps: int = 32
    baseline: str = MEAN
    region: int | None = None
    random_seeds: int = 5
    seed: int = 0


# The attributions of a batch by input, for the targets that the bundle explained.
Attributions = Callable[[Arrays, np.ndarray], Arrays]


def evaluate(bundle: Path, inputs: Arrays, *, data: str, settings: Settings, progress: Progress) -> Report:
    """Measures a bundle.

    Args:
        bundle: Its folder.
        inputs: Examples by input name, batch first.
        data: Where they come from, for the report.
        settings: How it is done.
        progress: Told of every batch.

    Raises:
        CommandError: The bundle has no explanations, or none of its inputs has relevance.
    """
    client = BundleClient(bundle)
    try:
        subject = _Subject(client, bundle, inputs, settings)
        measured, notes = subject.measure(progress)
    finally:
        client.close()
    manifest = load_manifest(bundle)
    return Report(
        name=manifest.name,
        version=manifest.version,
        composite="" if manifest.explanation is None else manifest.explanation.composite,
        data=data,
        examples=subject.examples,
        elements=subject.num_elements,
        baseline=settings.baseline,
        region=subject.region,
        seed=settings.seed,
        random_seeds=settings.random_seeds,
        fractions=tuple((subject.at / subject.at[-1]).tolist()),
        measured=measured,
        notes=tuple(notes),
    )


class _Subject:
    """A bundle and the examples that it is measured on."""

    def __init__(self, client: BundleClient, bundle: Path, inputs: Arrays, settings: Settings) -> None:
        self._client, self._bundle, self._inputs, self._settings = client, bundle, inputs, settings
        self.examples = len(next(iter(inputs.values())))
        self.targets, self._relevance = self._explain()
        baselines = self._baselines()
        self.region = settings.region or default_region(baselines)
        self._elements = Elements(baselines, self.region)
        self.num_elements = self._elements.scores({n: a[:1] for n, a in self._relevance.items()}).shape[1]
        self.at = counts(self.num_elements, settings.steps)

    def measure(self, progress: Progress) -> tuple[dict[str, dict[str, Measured]], list[str]]:
        """The curves of all attributions, and notes on those that can't be had."""
        notes: list[str] = []
        result = {RELEVANCE: self._both(RELEVANCE, [self._elements.scores(self._relevance)], progress)}
        generator = np.random.default_rng(self._settings.seed)
        shape = (self.examples, self.num_elements)
        result[RANDOM] = self._both(
            RANDOM, [generator.random(shape) for _ in range(self._settings.random_seeds)], progress
        )
        try:
            result[GRADIENT] = self._both(GRADIENT, [self._gradient_times_input()], progress)
        except CommandError as error:
            notes.append(f"{GRADIENT} left out: {error.message}")
        return result, notes

    def _batches(self) -> Iterator[slice]:
        for start in range(0, self.examples, BATCH_SIZE):
            yield slice(start, min(start + BATCH_SIZE, self.examples))

    def _part(self, rows: slice) -> dict[str, np.ndarray]:
        return {name: array[rows] for name, array in self._inputs.items()}

    def _explain(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The predicted classes and their relevance, as the bundle explains them."""
        attributions = [
            one for rows in self._batches() for (one,) in self._client.explain(self._part(rows)).attributions
        ]
        self._output = attributions[0].output
        names = attributions[0].relevance
        relevance = {name: np.stack([one.relevance[name] for one in attributions]) for name in names}
        return np.array([one.index for one in attributions], np.int32), relevance

    def _baselines(self) -> dict[str, np.ndarray]:
        """Of the inputs that have relevance: masks, positions and adjacencies without are left as they are."""
        baselines = {}
        for name, relevance in self._relevance.items():
            if not relevance.any():
                continue
            values = self._inputs[name]
            if values.dtype.kind in "iu" and values.dtype != np.uint8:
                baselines[name] = np.full(values.shape[1:], self._padding(), values.dtype)
            else:
                baselines[name] = self._baseline(values)
        if not baselines:
            raise CommandError(
                "Expected an input with relevance to delete. Received: relevance that is zero everywhere"
            )
        return baselines

    def _baseline(self, values: np.ndarray) -> np.ndarray:
        if self._settings.baseline == MEAN:
            return mean_baseline(values)
        return np.full(values.shape[1:], float(self._settings.baseline))

    def _padding(self) -> int:
        vocabulary = self._client.describe().vocabulary
        return 0 if vocabulary is None else vocabulary.padding

    def _gradient_times_input(self) -> np.ndarray:
        from whyserve.faithfulness.gradient import GradientTimesInput

        gradient = GradientTimesInput(self._bundle)
        parts = [gradient.attributions(self._part(rows), self.targets[rows]) for rows in self._batches()]
        if missing := [name for name in self._elements.baselines if name not in parts[0]]:
            raise CommandError(f"input {', '.join(missing)} holds whole numbers, which have no gradient")
        return np.concatenate([self._elements.scores(part) for part in parts])

    def _both(self, label: str, drawn: list[np.ndarray], progress: Progress) -> dict[str, Measured]:
        """Both curves; of several attributions of one example the mean."""
        generator = np.random.default_rng(self._settings.seed)
        total, done = 2 * len(drawn) * self.examples, 0
        measured = {}
        for kind in (DELETION, INSERTION):
            curves = np.zeros((self.examples, len(self.at)))
            for scores in drawn:
                places = ranks(scores, generator)
                for rows in self._batches():
                    points = perturbed(
                        self._part(rows), self._elements, places[rows], self.at, insertion=kind == INSERTION
                    )
                    curves[rows] += curve(self._scorer(self.targets[rows]), points) / len(drawn)
                    done += rows.stop - rows.start
                    progress.step(label, done, total)
            measured[kind] = measure(curves, area(curves, self.at))
        return measured

    def _scorer(self, targets: np.ndarray) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
        def score(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
            outputs = self._client.predict(inputs).outputs[self._output]
            rows = outputs.reshape(len(outputs), -1)
            return rows[np.arange(len(rows)), targets].astype(np.float64)

        return score
