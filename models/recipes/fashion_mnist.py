"""Recipes for Fashion-MNIST; the published figures are from the benchmark table of the data set's README."""

from models.recipes.recipe import Figure, Recipe
from models.training.config import TrainingConfig

SOURCE = "https://github.com/zalandoresearch/fashion-mnist#benchmark"

CNN_FASHION_MNIST = Recipe(
    name="cnn-fashion_mnist",
    summary="The convolutional network on Fashion-MNIST, some minutes on two cores.",
    config=TrainingConfig(architecture="cnn", data="fashion_mnist", epochs=15, batch_size=128, flip=True),
    measured=Figure(0.9331, "2 shared CPU cores, 488 s of training; seed 0. 10 epochs without flips: 0.9272 in 267 s"),
    published=Figure(0.916, f"2 Conv+pooling (2 Conv+3 FC: 0.932), {SOURCE}"),
    command="whyserve train cnn --data fashion_mnist --epochs 15 --batch-size 128 --flip",
)
MLP_FASHION_MNIST = Recipe(
    name="mlp-fashion_mnist",
    summary="The multilayer perceptron on Fashion-MNIST: the baseline, about a minute on two cores.",
    config=TrainingConfig(architecture="mlp", data="fashion_mnist", epochs=10, batch_size=128),
    measured=Figure(0.8928, "2 shared CPU cores, 62 s of training; seed 0"),
    published=Figure(0.8833, f"MLP 256-128-100, {SOURCE}"),
    command="whyserve train mlp --data fashion_mnist --epochs 10 --batch-size 128",
)
