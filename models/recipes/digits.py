"""Recipes for the digits of scikit-learn.

The published figure holds out writers, which this random split of one part of the data can't: it is no like for like.
"""

from models.recipes.recipe import Figure, Recipe
from models.training.config import TrainingConfig

PUBLISHED = Figure(
    0.9800, "k-nearest neighbours, k = 1, trained on the digits of other writers; optdigits.names of the UCI repository"
)

CNN_DIGITS = Recipe(
    name="cnn-digits",
    summary="The convolutional network on scikit-learn's digits: the demo, some seconds on two cores.",
    config=TrainingConfig(architecture="cnn", data="digits"),
    measured=Figure(0.9889, "2 CPU cores, 13 s with loading TensorFlow; seeds 0 to 3: 0.9889, 0.9889, 0.9889, 0.9806"),
    published=PUBLISHED,
    command="whyserve train cnn --data digits",
)
MLP_DIGITS = Recipe(
    name="mlp-digits",
    summary="The multilayer perceptron on scikit-learn's digits: the baseline.",
    config=TrainingConfig(architecture="mlp", data="digits"),
    measured=Figure(0.9833, "2 CPU cores, 15 s with loading TensorFlow; seed 0"),
    published=PUBLISHED,
    command="whyserve train mlp --data digits",
)
