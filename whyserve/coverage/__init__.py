"""Coverage: every model of `keras.applications` built, explained, exported and checked, one process a model."""
