"""All of it on real data: train, export, verify, serve, predict and explain over REST and gRPC, draw, stop."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whyserve.asking import Reading, percent, readings
from whyserve.client.base import Answer, Client
from whyserve.errors import CommandError
from whyserve.output import print_table
from whyserve.process import ServerProcess, interruptible, serve_arguments
from whyserve.quiet import native_stderr_in

NAME = "digits"
EPOCHS = 15
MIN_ACCURACY = 0.97
EXAMPLES = 12
STEPS = 8
# REST writes float32 in decimal, gRPC as bytes; requests may be batched differently. Relative to the largest magnitude.
AGREEMENT = 1e-5


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, and how long each step took in seconds."""

    run: Path
    bundle: Path
    picture: Path
    accuracy: float
    seconds: dict[str, float]


class Demo:
    """The demo, step by step.

    Args:
        folder: What it writes lies here: `run/`, `repository/digits/<version>/`, `explanations.png`, `request.json`.
        say: Where progress goes, line by line.
        epochs: Passes over the training set.
        seed: Of the training.
    """

    def __init__(self, folder: Path, *, say: Callable[[str], None], epochs: int = EPOCHS, seed: int = 0) -> None:
        self._folder = folder
        self._say = say
        self._epochs = epochs
        self._seed = seed
        self._seconds: dict[str, float] = {}
        self._start = time.monotonic()

    def run(self, *, keep_serving: bool = False) -> DemoResult:
        """Runs all steps.

        Args:
            keep_serving: Leave the server up until it is interrupted.

        Returns:
            Where everything is.

        Raises:
            CommandError: The accuracy is too low, REST and gRPC disagree, or the server fails.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._load_tensorflow()
        accuracy = self._train()
        bundle = self._export()
        self._verify(bundle)
        inputs, labels = self._held_out()
        picture = self._folder / "explanations.png"
        server = ServerProcess(bundle.parent, NAME, log=self._folder / "server.log")
        with interruptible(), server:
            with self._step("starting the server"):
                server.wait_until_available()
                self._say(f"   REST {server.rest_url}, gRPC {server.grpc_address}, ONNX Runtime, process {server.pid}")
            rest = self._ask("REST", _rest(server), inputs)
            grpc = self._ask("gRPC", _grpc(server), inputs)
            predictions = self._compare(rest, grpc, labels)
            with self._step("drawing"):
                self._draw(picture, inputs, labels, rest.explanation, predictions)
                self._write_request(inputs)
            if keep_serving:
                self._keep(server)
            status = server.stop()
        if status != 0:
            raise CommandError(
                f"The server should end with status 0 after SIGTERM. It ended with {status}.\n{server.log_tail()}"
            )
        self._say("   server stopped with SIGTERM, exit status 0")
        self._tell_what_next(bundle, picture)
        return DemoResult(self._folder / "run", bundle, picture, accuracy, self._seconds)

    @contextmanager
    def _step(self, text: str) -> Iterator[None]:
        """Announces a numbered step and says how long it took."""
        self._say(f"[{len(self._seconds) + 1}/{STEPS}] {text}")
        start = time.monotonic()
        yield
        self._seconds[text] = time.monotonic() - start
        self._say(f"   done in {self._seconds[text]:.1f} s")

    def _load_tensorflow(self) -> None:
        """Takes seconds, and says much of GPUs where there are none."""
        with self._step("loading TensorFlow"):
            with native_stderr_in(self._folder / "tensorflow.log"):
                import tensorflow as tf

                devices = tf.config.list_physical_devices()
            self._say(f"   TensorFlow {tf.__version__} on {', '.join(device.device_type for device in devices)}")

    def _train(self) -> float:
        from models.progress import TerminalProgress
        from models.training import TrainingConfig, train

        with self._step("training a convolutional network on 1,797 handwritten digits"):
            config = TrainingConfig(architecture="cnn", data=NAME, epochs=self._epochs, seed=self._seed)
            with TerminalProgress() as progress:
                result = train(config, self._folder / "run", progress, overwrite=True)
            accuracy = float(result.metrics["accuracy"])
            self._say(
                f"   test accuracy {100 * accuracy:.2f} % on {result.record.data['sizes']['test']} held-out images"
            )
        if accuracy < MIN_ACCURACY:
            raise CommandError(
                f"Expected a test accuracy of {100 * MIN_ACCURACY:.0f} % or more. Received: {100 * accuracy:.2f} %. "
                "Train longer (--epochs) or with another --seed."
            )
        return accuracy

    def _export(self) -> Path:
        from export.bundle import export_bundle

        with self._step("exporting a bundle: SavedModel and ONNX, predictions and explanations"):
            bundle: Path = export_bundle(
                self._folder / "run", repository=self._folder / "repository", name=NAME, progress=self._indented
            )
        return bundle

    def _verify(self, bundle: Path) -> None:
        from export.bundle import verify_bundle

        with self._step("verifying it: digests, parity of the formats, conservation of relevance"):
            verify_bundle(bundle, self._indented)

    def _indented(self, text: str) -> None:
        self._say(f"   {text}")

    def _held_out(self) -> tuple[dict[str, np.ndarray], list[str]]:
        """Real images that training has not seen, with their labels."""
        with np.load(self._folder / "run" / "samples.npz") as samples:
            labels = [str(label) for label in samples["labels"][:EXAMPLES]]
            return {name: samples[name][:EXAMPLES] for name in samples.files if name != "labels"}, labels

    def _ask(self, api: str, client: Client, inputs: dict[str, np.ndarray]) -> "Asked":
        with self._step(f"asking over {api}: {EXAMPLES} held-out images, predict and explain"):
            try:
                return Asked(client.predict(inputs), client.explain(inputs))
            finally:
                client.close()

    def _compare(self, rest: "Asked", grpc: "Asked", labels: list[str]) -> list[Reading]:
        """Prints the table, and refuses answers of REST and gRPC that differ."""
        predictions = readings(rest.prediction)
        rows = []
        for number, (reading, true) in enumerate(zip(predictions, labels, strict=True)):
            (one,) = rest.explanation.attributions[number]
            mark = "" if one.label == true else "wrong"
            rows.append(
                (number, true, one.label, percent(reading.probability), f"{one.value:.4f}", f"{one.gap:.2g}", mark)
            )
        columns = [">#", "true", "predicted", ">probability", ">explained value", ">conservation gap", ""]
        print_table(f"{NAME}, version {rest.prediction.version}", columns, rows)
        sys.stdout.flush()
        worst = max(_difference(a, b) for a, b in zip(rest.arrays(), grpc.arrays(), strict=True))
        if not worst <= AGREEMENT:
            raise CommandError(
                f"REST and gRPC must agree to {AGREEMENT:g} of the largest magnitude. They differ by {worst:.3g}."
            )
        self._say(f"   REST and gRPC agree: largest difference {worst:.1g} of the largest magnitude")
        return predictions

    def _draw(
        self,
        picture: Path,
        inputs: dict[str, np.ndarray],
        labels: list[str],
        answer: Answer,
        predictions: list[Reading],
    ) -> None:
        from explain.render import Example, draw, save, title

        ((name, images),) = inputs.items()
        panels = []
        for image, true, reading, (one,) in zip(images, labels, predictions, answer.attributions, strict=True):
            caption = title(one.label, reading.probability, true=true, gap=one.gap)
            panels.append(Example(image, one.relevance[name], caption, unit="logit"))
        save(draw(panels, heading="Each digit beside the reasons for its prediction"), picture)
        self._say(f"   {picture} ({picture.stat().st_size / 1000:.0f} kB)")

    def _write_request(self, inputs: dict[str, np.ndarray]) -> None:
        """A body for curl: the first image in TensorFlow Serving's row form."""
        ((_, images),) = inputs.items()
        (self._folder / "request.json").write_text(json.dumps({"instances": images[:1].tolist()}) + "\n")

    def _keep(self, server: ServerProcess) -> None:
        try:
            self._say(f"Serving until you press Ctrl-C: {server.rest_url}, grpc://{server.grpc_address}")
            self._say(f"  curl -d @{self._folder}/request.json {server.rest_url}/v1/models/{NAME}:explain")
            status = server.wait()
        except KeyboardInterrupt:
            return
        if status != 0:  # 0: the server had the same Ctrl-C, and was faster
            raise CommandError(f"The server ended by itself with status {status}.\n{server.log_tail()}")

    def _tell_what_next(self, bundle: Path, picture: Path) -> None:
        program = [sys.argv[0]] if Path(sys.argv[0]).name == "whyserve" else [sys.executable, "-m", "whyserve"]
        command = [*program, *serve_arguments(bundle.parent, NAME, port=8500, rest_api_port=8501)]
        self._say(f"\nDone in {time.monotonic() - self._start:.1f} s. The picture: {picture}. The bundle: {bundle}")
        self._say("Keep the server up (Ctrl-C or SIGTERM drains it):")
        self._say(f"  {shlex.join(command)}")
        self._say("and ask it why, from another terminal:")
        self._say(f"  curl -d @{self._folder}/request.json http://localhost:8501/v1/models/{NAME}:explain")


@dataclass(frozen=True)
class Asked:
    """What one interface answered to the same images."""

    prediction: Answer
    explanation: Answer

    def arrays(self) -> Iterator[np.ndarray]:
        """Every number of the answers, in an order that is the same for every interface."""
        yield from (self.prediction.outputs[name] for name in sorted(self.prediction.outputs))
        yield from (self.explanation.outputs[name] for name in sorted(self.explanation.outputs))
        for attributions in self.explanation.attributions:
            for one in attributions:
                yield np.array([one.index, one.value])
                yield from (one.relevance[name] for name in sorted(one.relevance))


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, relative to the largest magnitude; infinite for other shapes."""
    if np.shape(a) != np.shape(b):
        return float("inf")
    scale = float(np.max(np.abs(b), initial=0.0)) or 1.0
    return float(np.max(np.abs(np.asarray(a, np.float64) - b), initial=0.0)) / scale


def _rest(server: ServerProcess) -> Any:
    from whyserve.client.rest import RestClient

    return RestClient(server.rest_url, NAME)


def _grpc(server: ServerProcess) -> Any:
    from whyserve.client.grpc import GrpcClient

    return GrpcClient(server.grpc_address, NAME)
