"""Classify, Regress and MultiInference of TensorFlow Serving's PredictionService."""

from typing import TYPE_CHECKING, Any

from serving.errors import invalid_argument
from serving.examples import merge_context
from serving.grpc.rpc import Rpc
from serving.grpc.unary import Call, unary
from serving.inference import Question, find_task, find_tasks, infer, infer_together
from serving.protos import classification_pb2, inference_pb2, input_pb2, model_pb2, regression_pb2
from serving.protos.convert import model_spec_from_proto, model_spec_to_proto
from serving.tasks import Method, Regression, Result
from serving.types import ModelSpec

if TYPE_CHECKING:
    from serving.data_plane import DataPlane
    from serving.metrics import Metrics


class InferenceRpcs:
    """The RPCs over tf.Examples.

    Args:
        data_plane: What answers.
        metrics: Where each request is counted.
    """

    def __init__(self, data_plane: "DataPlane", metrics: "Metrics") -> None:
        self._data_plane = data_plane
        self._metrics = metrics

    def rpcs(self) -> dict[str, Rpc]:
        """The RPCs by name."""
        return {
            "Classify": unary(self._metrics, self.classify, classification_pb2.ClassificationRequest),
            "Regress": unary(self._metrics, self.regress, regression_pb2.RegressionRequest),
            "MultiInference": unary(self._metrics, self.multi_inference, inference_pb2.MultiInferenceRequest),
        }

    async def classify(
        self, request: classification_pb2.ClassificationRequest, timeout_s: float | None, call: Call
    ) -> classification_pb2.ClassificationResponse:
        """Labels and scores of each example."""
        spec, result = await self._infer(request, Method.CLASSIFY, timeout_s, call)
        reply = classification_pb2.ClassificationResponse()
        model_spec_to_proto(spec, reply.model_spec)
        _write_result(result, reply.result)
        return reply

    async def regress(
        self, request: regression_pb2.RegressionRequest, timeout_s: float | None, call: Call
    ) -> regression_pb2.RegressionResponse:
        """One value for each example."""
        spec, result = await self._infer(request, Method.REGRESS, timeout_s, call)
        reply = regression_pb2.RegressionResponse()
        model_spec_to_proto(spec, reply.model_spec)
        _write_result(result, reply.result)
        return reply

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, timeout_s: float | None, call: Call
    ) -> inference_pb2.MultiInferenceResponse:
        """Several signatures of one model over the same examples."""
        first = model_spec_from_proto(request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec())
        questions = [
            Question(task.model_spec.name, task.model_spec.signature_name, task.method_name) for task in request.tasks
        ]
        call.asks(self._data_plane, first.name)
        spec, tasks = find_tasks(self._data_plane, first, questions)
        call.answered_by(spec)
        examples = read_input(request.input)
        results = await infer_together(self._data_plane, spec, tasks, examples, timeout_s=timeout_s)
        self._metrics.observe_examples(spec.name, len(examples))
        reply = inference_pb2.MultiInferenceResponse()
        for task, result in zip(tasks, results, strict=True):
            entry = reply.results.add()
            model_spec_to_proto(ModelSpec(spec.name, spec.version, None, task.signature_name), entry.model_spec)
            classified = task.method is Method.CLASSIFY
            _write_result(result, entry.classification_result if classified else entry.regression_result)
        return reply

    async def _infer(
        self, request: Any, method: Method, timeout_s: float | None, call: Call
    ) -> tuple[ModelSpec, Result]:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        asked = model_spec_from_proto(request.model_spec)
        call.asks(self._data_plane, asked.name)
        spec, task = find_task(self._data_plane, asked, method)
        call.answered_by(spec)
        return spec, await infer(self._data_plane, spec, task, read_input(request.input), timeout_s=timeout_s)


def read_input(message: input_pb2.Input) -> list[bytes]:
    """The serialized examples of a request, the context merged into each."""
    kind = message.WhichOneof("kind")
    if kind == "example_list":
        return [example.SerializeToString() for example in message.example_list.examples]
    if kind == "example_list_with_context":
        both = message.example_list_with_context
        examples = [example.SerializeToString() for example in both.examples]
        return merge_context(both.context.SerializeToString(), examples)
    return []


def _write_result(result: Result, message: Any) -> None:
    """Fills a ClassificationResult or a RegressionResult."""
    if isinstance(result, Regression):
        for value in result.values.tolist():
            message.regressions.add(value=value)
        return
    for row in result.rows():
        classifications = message.classifications.add()
        for label, score in row:
            classifications.classes.add(label=label, score=score)
