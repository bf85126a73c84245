"""Reads examples from files into the arrays that a model takes."""
