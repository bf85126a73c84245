"""Serves bundles over TensorFlow Serving's gRPC and REST interfaces, explanations beside predictions."""
