import numpy as np
import pytest
from keras import layers, ops

from explain import OutputError, build_explainer
from tests.explain.running import explain, functional, signal, worst

# What is done to scores, for the softmax and the sigmoid that are made of them or for nothing instead.
ARRANGED = {
    "at each step": lambda x, softmax, _: layers.TimeDistributed(softmax(-1))(layers.Dense(3)(x)),
    "along another axis": lambda x, softmax, _: softmax(1)(layers.Dense(3)(x)),
    "transposed": lambda x, softmax, _: layers.Permute((2, 1))(softmax(-1)(layers.Dense(3)(x))),
    "reshaped and cast": lambda x, softmax, _: ops.cast(
        layers.Reshape((3, 2, 2))(softmax(-1)(layers.Dense(3)(x))), "float64"
    ),
    "of two heads": lambda x, softmax, sigmoid: layers.Concatenate()(
        [softmax(-1)(layers.Dense(3)(x[:, 0])), sigmoid(layers.Dense(2)(x[:, 1]))]
    ),
    "stacked": lambda x, _, sigmoid: ops.stack([sigmoid(layers.Dense(3)(x[:, i])) for i in range(2)], axis=1),
}


@pytest.mark.parametrize("name", ARRANGED)
def test_scores_are_arranged_as_their_probabilities(name):
    """As in a model that returns the scores."""
    build, x = ARRANGED[name], signal(2, 4, 5)
    model = functional(lambda x: build(x, layers.Softmax, layers.Activation("sigmoid")), (4, 5))
    scores = functional(lambda x: build(x, lambda _axis: layers.Identity(), layers.Identity()), (4, 5))
    scores.set_weights(model.get_weights())
    count = int(np.prod(model.output_shape[1:]))
    for target in (1, count - 2):
        found, expected = (explain(each, x, target=target, composite="epsilon") for each in (model, scores))
        np.testing.assert_allclose(found["explained_value"], expected["explained_value"], rtol=1e-12)
        assert worst(found["relevance"], expected["relevance"]) < 1e-12
        assert np.abs(found["conservation_gap"] - expected["conservation_gap"]).max() < 1e-12
    explainer = build_explainer(model, composite="epsilon")
    assert (explainer.explained, explainer.num_targets) == ("logit", count)


def probability(x):
    return layers.Dense(1, activation="sigmoid", name="probability")(layers.Flatten()(x))


def classes(x):
    return layers.Softmax(name="classes")(layers.Dense(3)(x[:, 0]))


def both(p):
    return layers.Concatenate()([1.0 - p, p])


REFUSED = {
    "two softmaxes": (lambda x: layers.Softmax()(classes(x)), "'Softmax' computes from the Softmax of layer 'classes'"),
    "a softmax of logarithms": (lambda x: layers.Softmax()(ops.log(classes(x))), "the Softmax of layer 'classes'"),
    "one minus a probability": (
        lambda x: 1.0 - probability(x),
        "final sigmoid to come last.*'Sub' computes from the Sigmoid of layer 'probability'",
    ),
    "both probabilities": (
        lambda x: both(probability(x)),
        "'Sub' computes from the Sigmoid of layer 'probability'",
    ),
    "beside a number": (
        lambda x: layers.Concatenate(name="both")([layers.Dense(2)(x[:, 0]), probability(x)]),
        "layer 'both' that operation 'ConcatV2' computes from the Sigmoid of layer 'probability'",
    ),
    "twice what was transposed": (
        lambda x: 2.0 * layers.Permute((2, 1))(layers.Softmax(name="classes")(layers.Dense(3)(x))),
        "'Mul' computes from the Softmax of layer 'classes'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_probabilities_that_do_not_come_last_are_refused(name):
    build, message = REFUSED[name]
    with pytest.raises(OutputError, match=message):
        build_explainer(functional(build, (4, 5)), composite="epsilon")


def test_a_bounded_regression_is_explained_itself():
    """A sigmoid, scaled: its value is what is asked for, not a probability."""
    model, x = functional(lambda x: 100.0 * probability(x), (4, 5)), signal(2, 4, 5)
    explainer = build_explainer(model, composite="epsilon")
    assert explainer.explained == "output"
    np.testing.assert_allclose(explain(model, x)["explained_value"], np.asarray(model([x]))[:, 0], rtol=1e-12)
