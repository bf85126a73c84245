# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
"""One recurrent layer as a model, and what its oracle says."""

import numpy as np
from keras import layers

from tests.explain.running import functional
from tests.oracles.recurrent import Recurrent

UNITS, FEATURES, TIME = 5, 4, 6

LAYERS = {
    "lstm": lambda **options: layers.LSTM(UNITS, **options),
    "gru": lambda **options: layers.GRU(UNITS, **options),
    "gru, reset before": lambda **options: layers.GRU(UNITS, reset_after=False, **options),
    "simple rnn": lambda **options: layers.SimpleRNN(UNITS, **options),
}
OPTIONS = {
    "plain": {},
    "backwards": {"go_backwards": True},
    "no bias": {"use_bias": False},
    "unrolled": {"unroll": True},
    "relu": {"activation": "relu"},
    "linear": {"activation": "linear"},
    "dropout": {"dropout": 0.3},
}


def alone(make, time=TIME, **options):
    """A model that is one recurrent layer; its oracle."""
    model = functional(lambda x: make(**options)(x), (time, FEATURES))
    return model, Recurrent(model.layers[-1])


def expected_of(oracle, x, target, rule=None, mask=None):
    """Relevance of each example for one element of the flattened output, with the accounts."""
    results, accounts = [], []
    for index, example in enumerate(x):
        output, _ = oracle.run(example, mask=None if mask is None else mask[index])
        R = output * np.eye(output.size)[target[index]].reshape(output.shape)
        relevance, _, account = oracle.relevance(R, rule=rule)
        results.append(relevance)
        accounts.append(account)
    return np.stack(results), accounts
