"""Why a model was not exported, or a bundle was refused."""


class ExportError(Exception):
    """Base of every refusal of this package; its text says what was expected, what came and how to put it right."""


class SourceError(ExportError):
    """The run folder or `.keras` file can't be read as a model."""


class SamplesError(ExportError):
    """No representative inputs for the model: the file doesn't fit, or the model refuses the values."""


class InterfaceError(ExportError):
    """The model's inputs or outputs can't be a signature: their names, kinds or types."""


class ExplanationError(ExportError):
    """The model can't be explained; it can still be exported without explanations."""


class ConversionError(ExportError):
    """The model can't be written in one of the bundle's formats."""


class ParityError(ExportError):
    """The formats of a bundle don't compute the same, or a value is not finite."""


class ConservationError(ExportError):
    """A step of the relevance pass creates or loses relevance that it doesn't account for."""


class ManifestError(ExportError):
    """`manifest.json` is missing, isn't JSON, or doesn't follow the schema."""


class IntegrityError(ExportError):
    """The files of a bundle are not those that its manifest lists."""


class PublicationError(ExportError):
    """The bundle can't be published where it was asked for: the name, the version, or the folder."""
