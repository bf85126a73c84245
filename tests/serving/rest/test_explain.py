import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.errors import ServingError
from serving.rest.explain import SMALLEST_VALUE, Explainer
from serving.rest.explain_parameters import Parameters, read_parameters
from serving.types import Explanation, ModelSpec, Prediction
from tests.serving.bundles import kernel_of, softmax
from tests.serving.rest.planes import open_client

X = np.array([[1, 2, 3, 4], [0, 0, -1, 1], [-1, 0.5, 0, 2]], np.float32)
LABELS = ("a", "b", "c")


def post(models: Path, document: Any, path: str = "/v1/models/dense:explain") -> tuple[int, Any]:
    async def run() -> tuple[int, Any]:
        async with open_client(models) as client:
            reply = await client.post(path, content=json.dumps(document))
            return reply.status_code, reply.json()

    return asyncio.run(run())


def expected(version: int, targets: list[int]) -> list[dict[str, Any]]:
    """One attribution for each instance, by the model: relevance = x * kernel[:, target], whose sum is the logit."""
    kernel = kernel_of(version).astype(float)
    return [
        {
            "outputName": "probabilities",
            "outputIndex": [target],
            "outputDisplayName": LABELS[target],
            "instanceOutputValue": pytest.approx(float(x @ kernel[:, target]), abs=1e-5),
            "baselineOutputValue": 0.0,
            "approximationError": pytest.approx(0, abs=1e-5),
            "featureAttributions": {"x": pytest.approx((x * kernel[:, target]).tolist(), abs=1e-5)},
        }
        for x, target in zip(X.astype(float), targets, strict=True)
    ]


def check(
    answer: tuple[int, Any], columns: list[list[dict[str, Any]]], version: int = 2, form: str = "predictions"
) -> None:
    status, reply = answer
    assert status == 200, reply
    assert list(reply) == [form, "explanations"]
    np.testing.assert_allclose(reply[form], softmax(X.astype(float) @ kernel_of(version)), atol=1e-6)
    assert reply["explanations"] == [{"attributions": list(row)} for row in zip(*columns, strict=True)]


PREDICTED = (X @ kernel_of(2)).argmax(axis=1).tolist()


@pytest.mark.parametrize("parameters", [{}, {"parameters": None}, {"parameters": {}}, {"parameters": {"top_k": 1}}])
@pytest.mark.parametrize("name", [{}, {"signature_name": "serving_default"}, {"signature_name": "explain"}])
def test_the_predicted_class_is_explained(models: Path, parameters: dict, name: dict) -> None:
    check(post(models, {"instances": X.tolist(), **name, **parameters}), [expected(2, PREDICTED)])


def test_instances_may_name_their_input(models: Path) -> None:
    check(post(models, {"instances": [{"x": x} for x in X.tolist()]}), [expected(2, PREDICTED)])


def test_column_form_is_answered_in_column_form(models: Path) -> None:
    check(post(models, {"inputs": X.tolist()}), [expected(2, PREDICTED)], form="outputs")
    check(post(models, {"inputs": {"x": X.tolist()}}), [expected(2, PREDICTED)], form="outputs")


def test_a_version_can_be_chosen(models: Path) -> None:
    predicted = (X @ kernel_of(1)).argmax(axis=1).tolist()
    answer = post(models, {"instances": X.tolist()}, "/v1/models/dense/versions/1:explain")
    check(answer, [expected(1, predicted)], version=1)


@pytest.mark.parametrize(
    ("target", "targets"),
    [
        (2, [2, 2, 2]),
        ("c", [2, 2, 2]),
        (-1, PREDICTED),
        ([0, 1, 2], [0, 1, 2]),
        (["c", "a", 1], [2, 0, 1]),
        ([-1, 0, 0], [PREDICTED[0], 0, 0]),
    ],
)
def test_a_target_can_be_given_by_index_label_or_list(models: Path, target: Any, targets: list[int]) -> None:
    check(post(models, {"instances": X.tolist(), "parameters": {"target": target}}), [expected(2, targets)])


@pytest.mark.parametrize(
    ("parameters", "targets", "others"),
    [
        ({"target": 2, "contrast": 0}, [2, 2, 2], [0, 0, 0]),
        ({"target": "c", "contrast": ["a", "b", 1]}, [2, 2, 2], [0, 1, 1]),
        ({"contrast": 1}, PREDICTED, [1, 1, 1]),
        ({"target": 2, "contrast": -1}, [2, 2, 2], PREDICTED),
    ],
)
def test_a_contrast_is_the_difference_of_two_explanations(
    models: Path, parameters: dict, targets: list[int], others: list[int]
) -> None:
    kernel = kernel_of(2).astype(float)
    difference = [kernel[:, a] - kernel[:, b] for a, b in zip(targets, others, strict=True)]
    column = [
        {
            **attribution,
            "contrastIndex": [other],
            "contrastDisplayName": LABELS[other],
            "instanceOutputValue": pytest.approx(float(x @ weights), abs=1e-5),
            "approximationError": pytest.approx(0, abs=1e-4),
            "featureAttributions": {"x": pytest.approx((x * weights).tolist(), abs=1e-5)},
        }
        for attribution, other, x, weights in zip(
            expected(2, targets), others, X.astype(float), difference, strict=True
        )
    ]
    check(post(models, {"instances": X.tolist(), "parameters": parameters}), [column])


@pytest.mark.parametrize(("top_k", "num_ranks"), [(2, 2), (3, 3), (-1, 3)])
def test_top_k_explains_the_classes_with_the_highest_scores(models: Path, top_k: int, num_ranks: int) -> None:
    ranked = np.argsort(-(X @ kernel_of(2)), axis=1)
    columns = [expected(2, ranked[:, rank].tolist()) for rank in range(num_ranks)]
    check(post(models, {"instances": X.tolist(), "parameters": {"top_k": top_k}}), columns)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"target": 3}, "`target` must be in [0, 2], or -1 for the predicted class. Received: target=3."),
        ({"target": -2}, "`target` must be in [0, 2], or -1 for the predicted class. Received: target=-2."),
        ({"target": 2**70}, "`target` must be a class index"),
        ({"target": [0, 1, 9]}, "`target` must be in [0, 2], or -1 for the predicted class. Received: target=9."),
        ({"target": [0]}, "a list with one for each instance. Received: 1 targets for 3 instances."),
        ({"target": "cat"}, '`target` must be one of a, b, c. Received: target="cat".'),
        ({"target": 1.0}, "`target` must be a class index, a class label, or a list"),
        ({"target": True}, "Received: target=true."),
        ({"target": [[0], [1], [2]]}, "Received: target=[0]."),
        ({"top_k": 4}, "`top_k` must lie in [1, 3], or be -1 for all classes. Received: top_k=4."),
        ({"top_k": 0}, "`top_k` must be a positive integer, or -1 for all classes. Received: top_k=0."),
        ({"top_k": "2"}, 'Received: top_k="2".'),
        ({"top_k": 2, "target": 1}, "`target` and `top_k` exclude each other. Received: target=1, top_k=2."),
        ({"method": "lrp"}, "'parameters' may hold target, contrast, top_k. Received: \"method\"."),
        ({"contrast": 3}, "`contrast` must be in [0, 2], or -1 for the predicted class. Received: contrast=3."),
        ({"contrast": "cat"}, '`contrast` must be one of a, b, c. Received: contrast="cat".'),
        (
            {"contrast": [0]},
            "`contrast` must be one class, or a list with one for each instance. Received: 1 contrasts",
        ),
        ({"contrast": 1, "top_k": 2}, "`contrast` and `top_k` exclude each other. Received: contrast=1, top_k=2."),
        ({"target": [0, 1, "b"], "contrast": [1, 0, 1]}, "must be two classes. Received: 1 for both of instance 2."),
        ([1], "'parameters' must be an object. Received: [1]."),
    ],
)
def test_wrong_parameters_are_refused_with_what_is_right(models: Path, parameters: Any, text: str) -> None:
    status, reply = post(models, {"instances": X.tolist(), "parameters": parameters})
    assert status == 400
    assert text in reply["error"]


def test_only_the_default_signature_is_explained(models: Path) -> None:
    status, reply = post(models, {"instances": X.tolist(), "signature_name": "other"})
    assert status == 400
    assert reply["error"].startswith("Signature 'serving_default' is the one that is explained.")


def test_a_model_without_explanations_says_how_to_get_them(models: Path) -> None:
    status, reply = post(models, {"instances": X.tolist()}, "/v1/models/plain:explain")
    assert status == 400
    assert reply["error"].startswith("Model 'plain' version 1 has no explanations")
    assert "--no-explain" in reply["error"]


def test_an_unknown_model_is_not_found(models: Path) -> None:
    answer = post(models, {"instances": X.tolist()}, "/v1/models/nope:explain")
    assert answer == (404, {"error": "Servable not found for request: Latest(nope)"})


def explainer(layers: dict[str, str] | None = None, **outputs: Any) -> Explainer:
    """An explainer over a model that answers `outputs`."""

    async def predict(spec: ModelSpec, _inputs: Any) -> Prediction:
        return Prediction(spec, {name: np.asarray(value) for name, value in outputs.items()})

    relevance = {"a": "relevance_a", "b": "relevance_b"}
    explanation = Explanation("y", relevance, num_targets=None, layers=layers or {})
    return Explainer(ModelSpec("m", 1), {}, explanation, predict)


def test_the_error_is_what_the_relevance_lacks_of_the_explained_value() -> None:
    model = explainer(
        y=[0.5, 0.5, 0.5],
        relevance_a=[[1.0], [2.0], [3.0]],
        relevance_b=[1.0, 2.0, 3.0],
        target=np.array([0, 7, 1], np.int32),
        explained_value=np.array([4.0, -2.0, 0.0], np.float32),
        conservation_gap=np.array([1.0, 0.5, 1e-7], np.float32),
    )
    inputs = {"a": np.zeros((3, 1)), "b": np.zeros(3)}
    explained = asyncio.run(model.explain(inputs, None))
    assert list(explained.outputs) == ["y"]
    first, second, third = (explanation["attributions"][0] for explanation in explained.explanations)
    # |1| / |4|, |0.5| / |-2|, |1e-7| / max(0, 1e-6)
    assert [float(one["approximationError"]) for one in (first, second, third)] == pytest.approx([0.25, 0.25, 0.1])
    assert SMALLEST_VALUE == 1e-6
    assert second["outputIndex"] == [7]
    assert "outputDisplayName" not in second
    assert second["featureAttributions"]["b"] == 2.0
    assert second["featureAttributions"]["a"].tolist() == [2.0]


def test_relevance_at_inner_layers_comes_with_the_attribution() -> None:
    model = explainer(
        {"block 1": "relevance_at_block_1"},
        y=[0.5], target=[0], explained_value=[1.0], conservation_gap=[0.0], relevance_a=[0], relevance_b=[0],
        relevance_at_block_1=np.array([[0.25, 0.75]], np.float32),
    )  # fmt: skip
    explained = asyncio.run(model.explain({"a": np.zeros(1), "b": np.zeros(1)}, None))
    (attribution,) = explained.explanations[0]["attributions"]
    assert list(attribution["layerAttributions"]) == ["block 1"]
    assert np.asarray(attribution["layerAttributions"]["block 1"]).tolist() == [0.25, 0.75]
    assert list(explained.outputs) == ["y"]


def test_top_k_needs_a_score_for_each_class() -> None:
    model = explainer(
        y=[0.5], target=[0], explained_value=[1.0], conservation_gap=[0.0], relevance_a=[0], relevance_b=[0]
    )
    with pytest.raises(ServingError, match="`top_k` needs an output with one score for each class"):
        asyncio.run(model.explain({"a": np.zeros(1), "b": np.zeros(1)}, {"top_k": 2}))


def test_instances_need_a_common_dimension() -> None:
    for inputs in ({"a": np.zeros(()), "b": np.zeros(())}, {"a": np.zeros(1), "b": np.zeros(2)}):
        with pytest.raises(ServingError, match="Inputs must have one first dimension in common, the instances"):
            asyncio.run(explainer().explain(inputs, None))


def test_absent_parameters_ask_for_the_predicted_class() -> None:
    assert read_parameters(None) == Parameters(None, None, 1)
    assert read_parameters({"target": None, "top_k": None, "contrast": None}) == Parameters(None, None, 1)
