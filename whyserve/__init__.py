"""Whyserve: Keras models served together with the reasons for their predictions."""

__version__ = "0.1.0"
