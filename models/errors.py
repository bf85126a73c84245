"""Errors of the models package: everything a caller can put right is a `ModelsError`."""


class ModelsError(ValueError):
    """What every error below is; its text says what was expected, what came and how to put it right."""


class UnknownNameError(ModelsError):
    """A name that no architecture, data set or recipe has."""


class DataSetUnavailableError(ModelsError):
    """A data set is neither in the folders looked at nor could it be downloaded."""


class DataSetCorruptError(ModelsError):
    """A file is there, but is not what it should be: wrong digest, truncated, or of another layout."""


class TrainingConfigError(ModelsError):
    """Options of a training that are out of range or do not go together."""


class RunFolderError(ModelsError):
    """A run folder that can't be written (it holds something else) or read (it is not a finished run)."""
