"""The body of `:predict` and `:explain`: row and column form, to named arrays."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import ServingError, invalid_argument
from serving.rest.json_text import parse_json, show
from serving.rest.number_arrays import read_numbers
from serving.rest.tensors import TensorFiller, convert_numbers, is_base64, stack, to_array
from serving.types import TensorInfo


class Form(enum.Enum):
    """How inputs stand in the body, and outputs in the reply; the value is the key of the outputs."""

    ROW = "predictions"
    COLUMN = "outputs"


@dataclass(frozen=True)
class Body:
    """A parsed body.

    Args:
        document: The JSON object; without its array, where that was read by itself.
        booleans: Whether `true` or `false` may occur in it.
        content: The text.
        numbers: The key and the array of a document that holds one large array of numbers.
    """

    document: Mapping[str, Any]
    booleans: bool
    content: bytes = b""
    numbers: tuple[str, np.ndarray] | None = None

    @classmethod
    def parse(cls, content: bytes) -> "Body":
        """Parses the bytes of a body.

        Raises:
            ServingError: INVALID_ARGUMENT; see `parse_json`.
        """
        plain = read_numbers(content)
        if plain is not None:
            key, array, others = plain
            return cls(others, booleans=False, content=content, numbers=(key, array))
        return cls._parse_all(content)

    @classmethod
    def _parse_all(cls, content: bytes) -> "Body":
        # One letter is found 20 times faster than a word, and where it is absent, which is usual, so is the word.
        booleans = (b"r" in content and b"true" in content) or (b"l" in content and b"false" in content)
        return cls(parse_json(content), booleans)

    def signature_name(self) -> str:
        """The signature asked for; empty where the body names none.

        Raises:
            ServingError: INVALID_ARGUMENT; it is no string.
        """
        name = self.document.get("signature_name", "")
        if not isinstance(name, str):
            raise invalid_argument(
                f"JSON Value: {show(self.document)} not formatted correctly. 'signature_name' key must be a string "
                "value."
            )
        return name

    def inputs(self, expected: Mapping[str, TensorInfo]) -> tuple[Form, dict[str, np.ndarray]]:
        """Reads the inputs of a signature.

        Args:
            expected: The signature's inputs.

        Returns:
            The form, and an array for each name. Row form stacks the instances along a new first dimension.

        Raises:
            ServingError: INVALID_ARGUMENT, in TensorFlow Serving's words; UNIMPLEMENTED for types that JSON lacks.
        """
        if self.numbers is not None:
            return self._numbers(*self.numbers, expected)
        document = self.document
        if "instances" in document:
            if "inputs" in document:
                raise invalid_argument(
                    f"JSON Value: {show(document)} Not formatted correctly expecting only one of 'inputs' or "
                    "'instances' keys to exist "
                )
            instances = document["instances"]
            if not isinstance(instances, list):
                raise invalid_argument(f"JSON Value: {show(document)} Excepting 'instances' to be an list/array")
            if not instances:
                raise invalid_argument(f"JSON Value: {show(document)} No values in 'instances' array")
            return Form.ROW, self._rows(instances, expected)
        if "inputs" in document:
            return Form.COLUMN, self._columns(document["inputs"], expected)
        raise invalid_argument("Missing 'inputs' or 'instances' key")

    def _numbers(
        self, key: str, numbers: np.ndarray, expected: Mapping[str, TensorInfo]
    ) -> tuple[Form, dict[str, np.ndarray]]:
        """The array where it is what the signature takes; else the whole way, which has the words for what is wrong."""
        if len(expected) == 1:
            ((name, info),) = expected.items()
            array = convert_numbers(numbers, info.dtype)
            if array is not None:
                return Form.ROW if key == "instances" else Form.COLUMN, {name: array}
        return Body._parse_all(self.content).inputs(expected)

    def _rows(self, instances: list[Any], expected: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
        if not _is_object(instances[0]):
            name, info = _only_input(expected, "instances is a plain list", "list of objects")
            array = stack(instances, info.dtype, booleans=self.booleans)
            return {name: array} if array is not None else _fill_plain(instances, name, info)
        if all(type(instance) is dict and instance.keys() == expected.keys() for instance in instances):
            arrays = {}
            for name, info in expected.items():
                column = [instance[name] for instance in instances]
                if (array := stack(column, info.dtype, booleans=self.booleans)) is None:
                    return _fill_objects(instances, expected)
                arrays[name] = array
            return arrays
        return _fill_objects(instances, expected)

    def _columns(self, value: Any, expected: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
        if not _is_object(value):
            name, info = _only_input(expected, "inputs is a plain value/list", "an object")
            return {name: to_array(value, info.dtype, booleans=self.booleans)}
        arrays = {}
        for name, info in expected.items():
            if name not in value:
                raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
            arrays[name] = to_array(value[name], info.dtype, booleans=self.booleans)
        return arrays


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _only_input(expected: Mapping[str, TensorInfo], received: str, named: str) -> tuple[str, TensorInfo]:
    """The input that values without a name are for."""
    if not expected:
        raise invalid_argument(f"{received}, but the signature takes no input. Send an empty object: 'inputs': {{}}")
    if len(expected) > 1:
        raise invalid_argument(
            f"{received}, but expecting {named} as multiple input tensors required as per tensorinfo_map"
        )
    return next(iter(expected.items()))


def _fill_plain(instances: list[Any], name: str, info: TensorInfo) -> dict[str, np.ndarray]:
    filler = TensorFiller(info.dtype)
    for index, instance in enumerate(instances):
        if _is_object(instance):
            raise invalid_argument(f"Expecting value/list but got object at item {index} of input list")
        try:
            filler.add(instance)
        except ServingError as error:
            raise _element_error(index, "", error) from error
    return {name: filler.array((len(instances), *(filler.shape or ())))}


def _fill_objects(instances: list[Any], expected: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    fillers = {name: TensorFiller(info.dtype) for name, info in expected.items()}
    for index, instance in enumerate(instances):
        if not _is_object(instance):
            raise invalid_argument(f"Expecting object but got list at item {index} of input list")
        for name, value in instance.items():
            try:
                if name not in fillers:
                    raise invalid_argument(f"JSON object: does not have named input: {name}")
                fillers[name].add(value)
            except ServingError as error:
                raise _element_error(index, f" key: {name}", error) from error
        if instance.keys() != expected.keys():
            raise invalid_argument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {show(instance)} "
                f"keys must be equal to: {','.join(sorted(expected))}"
            )
    return {name: filler.array((len(instances), *(filler.shape or ()))) for name, filler in fillers.items()}


def _element_error(index: int, key: str, error: ServingError) -> ServingError:
    return invalid_argument(
        f"Failed to process element: {index}{key} of 'instances' list. Error: {error.code.name}: {error.message}"
    )
