"""Architectures, data sets, recipes and training: what turns real data into a run folder that `export` reads."""
