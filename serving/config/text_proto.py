"""Files in protobuf's text format."""

import re
from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from serving.errors import Code, ServingError, invalid_argument
from serving.protos.pool import POOL

M = TypeVar("M", bound=Message)


def read_text_proto(path: Path, message: M) -> M:
    """Reads a file into `message`.

    Args:
        path: The file.
        message: An empty message of the type that the file must hold.

    Returns:
        The message.

    Raises:
        ServingError: NOT_FOUND where the file can't be read, INVALID_ARGUMENT where it holds something else; TensorFlow
            Serving's text, then protobuf's own with line and column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{path} must be a readable file. Received: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise _invalid(path, message, str(error)) from error
    try:
        return text_format.Parse(text, message, descriptor_pool=POOL)
    except text_format.ParseError as error:
        raise _invalid(path, message, str(error)) from error


def _invalid(path: Path, message: Message, reason: str) -> ServingError:
    place = re.sub(r"^(\d+:\d+) : ", r"\1: ", reason)
    kind = message.DESCRIPTOR.full_name
    return invalid_argument(f"Invalid protobuf file: '{path}'. Error parsing text-format {kind}: {place}")
