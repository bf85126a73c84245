import keras
from keras import layers

from explain import Assignment, Composite, Rule, build_explainer
from tests.explain.running import double, functional


def rules_by_layer(model, *assignments):
    explainer = build_explainer(model, composite=Composite("mine", (*assignments, Assignment(Rule("epsilon")))))
    assert (explainer.composite, explainer.composite_reason) == ("mine", "asked for")
    return [(entry["layer"], entry["rule"]) for entry in explainer.rules]


def branches(x, y):
    a = layers.Dense(3, name="a1", activation="relu")(layers.Rescaling(2.0)(x))
    b = layers.Dense(3, name="b2")(layers.Dense(3, name="b1")(y))
    return layers.Dense(2, name="top")(layers.Concatenate()([a, b]))


def test_first_is_no_layer_with_weights_below_on_whatever_branch():
    rules = rules_by_layer(functional(branches, (4,), (5,)), Assignment(Rule("z_plus"), first=True))
    assert dict(rules) == {"a1": "z_plus", "b1": "z_plus", "b2": "epsilon", "top": "epsilon"}


def test_last_is_no_layer_with_weights_above_on_whatever_head():
    with double():
        x = keras.Input((4,), dtype="float64")
        h = layers.ReLU()(layers.Dense(3, name="trunk")(x))
        model = keras.Model(x, [layers.Dense(2, name="one")(h), layers.Softmax()(layers.Dense(2, name="other")(h))])
    explainer = build_explainer(
        model,
        composite=Composite("mine", (Assignment(Rule("zero"), last=True), Assignment(Rule("epsilon")))),
        output="one",
    )
    assert {entry["layer"]: entry["rule"] for entry in explainer.rules} == {
        "trunk": "epsilon",
        "one": "zero",
        "other": "zero",
    }


def test_positions_count_in_the_order_of_execution_recurrent_layers_too():
    def build(x):
        x = layers.Conv1D(3, 2, name="conv")(x)
        x = layers.Bidirectional(layers.LSTM(2, name="lstm"), name="both")(x)
        return layers.Dense(2, name="top")(x)

    rules = rules_by_layer(
        functional(build, (5, 3)),
        Assignment(Rule("zero"), position=1),
        Assignment(Rule("z_plus"), position=-1),
        Assignment(Rule("flat"), position=0),
    )
    assert rules == [
        ("conv", "flat"),
        ("forward_lstm", "zero"),
        ("backward_lstm", "epsilon"),
        ("top", "z_plus"),
    ]


def test_names_and_types_are_those_of_the_layers_around_it_too():
    def build(x):
        x = layers.MultiHeadAttention(2, 3, name="heads")(x, x)
        x = layers.TimeDistributed(layers.Dense(4, name="inner"), name="each")(x)
        x = layers.Bidirectional(layers.GRU(2, name="gru"), name="both")(x)
        return layers.Dense(2, name="top")(x)

    model = functional(build, (5, 3))
    by_type = rules_by_layer(
        model,
        Assignment(Rule("zero"), types=("MultiHeadAttention", "Bidirectional")),
        Assignment(Rule("flat"), types=("MatMul",), layers=("each",)),
    )
    by_name = rules_by_layer(
        model, Assignment(Rule("zero"), layers=("heads", "both")), Assignment(Rule("flat"), layers=("inn*",))
    )
    expected = [
        *((name, "zero") for name in ("query", "key", "value", "attention_output")),
        ("inner", "flat"),
        ("forward_gru", "zero"),
        ("backward_gru", "zero"),
        ("top", "epsilon"),
    ]
    assert sorted(by_type) == sorted(by_name) == sorted(expected)


def test_a_nested_model_is_a_name_and_its_layers_are_told_apart():
    def build(x):
        inner = keras.Sequential([layers.Dense(3, name="d1"), layers.Dense(3, name="d2")], name="block")
        return layers.Dense(2, name="top")(inner(x))

    rules = rules_by_layer(
        functional(build, (4,)), Assignment(Rule("zero"), layers=("d2",)), Assignment(Rule("norm"), layers=("block",))
    )
    assert rules == [("d1", "norm"), ("d2", "zero"), ("top", "epsilon")]
