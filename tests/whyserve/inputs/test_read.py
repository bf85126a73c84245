import base64
import json

import numpy as np
import pytest
from PIL import Image

from serving.types import TensorInfo
from whyserve.errors import CommandError
from whyserve.inputs.read import read_examples


def spec(name, shape, dtype="float32"):
    return {name: TensorInfo(name, np.dtype(dtype), shape)}


IMAGE = spec("image", (None, 4, 6, 1))
FEATURES = spec("features", (None, 3))
TWO = {**spec("age", (None, 1)), **spec("income", (None,))}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("shape", [(5, 4, 6, 1), (5, 4, 6), (5, 24)])
def test_npy_gets_the_shape_and_dtype_of_the_input(tmp_path, shape):
    values = np.arange(5 * 24)
    np.save(tmp_path / "x.npy", values.reshape(shape))
    array = read_examples(tmp_path / "x.npy", IMAGE).inputs["image"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, values.reshape(5, 4, 6, 1))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_a_single_example_gets_its_batch_axis(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.ones(shape))
    assert read_examples(tmp_path / "x.npy", IMAGE).inputs["image"].shape == (1, 4, 6, 1)


def test_npz_gives_every_input_and_the_labels(tmp_path):
    np.savez(tmp_path / "x.npz", age=[[30], [40]], income=[1.5, 2.5], labels=np.array([7, 1]))
    examples = read_examples(tmp_path / "x.npz", TWO)
    assert examples.labels == ("7", "1")
    np.testing.assert_array_equal(examples.inputs["age"], [[30], [40]])
    np.testing.assert_array_equal(examples.inputs["income"], [1.5, 2.5])


def test_npz_with_one_array_fits_one_input_whatever_its_name(tmp_path):
    np.savez(tmp_path / "x.npz", np.zeros((2, 3)))
    assert read_examples(tmp_path / "x.npz", FEATURES).inputs["features"].shape == (2, 3)


@pytest.mark.parametrize(
    "body",
    [
        [[1, 2, 3], [4, 5, 6]],
        {"instances": [[1, 2, 3], [4, 5, 6]]},
        {"instances": [{"features": [1, 2, 3]}, {"features": [4, 5, 6]}]},
        {"inputs": [[1, 2, 3], [4, 5, 6]]},
        {"inputs": {"features": [[1, 2, 3], [4, 5, 6]]}},
    ],
)
def test_json_is_a_list_or_a_body_in_either_form(tmp_path, body):
    examples = read_examples(write(tmp_path / "x.json", body), FEATURES)
    np.testing.assert_array_equal(examples.inputs["features"], [[1, 2, 3], [4, 5, 6]])


def test_json_rows_of_objects_give_every_input(tmp_path):
    body = {"signature_name": "x", "instances": [{"age": [1], "income": 2}, {"age": [3], "income": 4}]}
    examples = read_examples(write(tmp_path / "x.json", body), TWO)
    np.testing.assert_array_equal(examples.inputs["age"], [[1], [3]])
    np.testing.assert_array_equal(examples.inputs["income"], [2, 4])
    assert "signature_name" in examples.notes[0]


def test_json_strings_and_base64_are_bytes(tmp_path):
    encoded = {"b64": base64.b64encode(b"\xff\x00").decode()}
    examples = read_examples(write(tmp_path / "x.json", ["good", encoded]), spec("text", (None,), "object"))
    assert examples.inputs["text"].tolist() == [b"good", b"\xff\x00"]


def test_csv_with_a_header_names_features_and_labels(tmp_path):
    file = write(tmp_path / "x.csv", "age,label,hours,gain\n30,yes,40,0\n50,no,10,-1.5\n")
    examples = read_examples(file, FEATURES)
    assert examples.labels == ("yes", "no")
    assert examples.feature_names == ("age", "hours", "gain")
    np.testing.assert_array_equal(examples.inputs["features"], [[30, 40, 0], [50, 10, -1.5]])


def test_csv_without_a_header_is_numbers(tmp_path):
    examples = read_examples(write(tmp_path / "x.csv", "1,2,3\n4,5,6\n"), FEATURES)
    np.testing.assert_array_equal(examples.inputs["features"], [[1, 2, 3], [4, 5, 6]])


def test_csv_columns_named_after_inputs_fill_them(tmp_path):
    examples = read_examples(write(tmp_path / "x.csv", "income,age\n1,2\n3,4\n"), TWO)
    np.testing.assert_array_equal(examples.inputs["age"], [[2], [4]])
    np.testing.assert_array_equal(examples.inputs["income"], [1, 3])


def test_a_picture_is_converted_and_resized_and_the_note_says_so(tmp_path):
    Image.new("RGB", (60, 40), (255, 255, 255)).save(tmp_path / "x.png")
    examples = read_examples(tmp_path / "x.png", IMAGE)
    np.testing.assert_array_equal(examples.inputs["image"], np.full((1, 4, 6, 1), 255))
    assert examples.notes == ("x.png: 60 x 40 RGB, converted to gray, resized to 6 x 4",)


def test_a_picture_of_the_right_size_is_left_alone(tmp_path):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    examples = read_examples(tmp_path / "x.png", spec("image", (None, None, None, 3)))
    np.testing.assert_array_equal(examples.inputs["image"], pixels[None])
    assert examples.notes == ("x.png: 6 x 4 RGB",)


def test_pixels_are_scaled_to_the_range_that_is_asked_for(tmp_path):
    Image.new("L", (6, 4), 255).save(tmp_path / "x.png")
    examples = read_examples(tmp_path / "x.png", IMAGE, pixel_max=16)
    np.testing.assert_allclose(examples.inputs["image"], 16)
    assert "0..16" in examples.notes[0]


def test_head_keeps_the_first_examples_and_says_so(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.arange(12).reshape(4, 3), labels=[0, 1, 2, 3])
    head = read_examples(tmp_path / "x.npz", FEATURES).head(2)
    np.testing.assert_array_equal(head.inputs["features"], [[0, 1, 2], [3, 4, 5]])
    assert head.labels == ("0", "1")
    assert head.notes == ("the first 2 of 4 examples",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "{", r"Can't read .*x\.json"),
        ("x.json", "[" * 100_000, r"Can't read .*x\.json"),
        ("x.json", [[1, 2], [3]], r"Can't read .*inhomogeneous"),
        ("x.json", {"instances": []}, "instances"),
        ("x.json", "[1, 2", r"Can't read"),
        ("x.json", [{"other": [1, 2, 3]}], "Expected an entry 'features'"),
        ("x.json", [["a", "b", "c"]], "Expected numbers"),
        ("x.json", [[1, 2]], r"shape \(\?, 3\).*Received: shape \(1, 2\)"),
        ("x.csv", "1,2,3\n4,5\n", "3 values in every row.*2 in row 2"),
        ("x.csv", "", "empty"),
        ("x.csv", "a,b,c\n1,two,3\n", "Can't read"),
        ("x.npy", "no array", r"Can't read .*x\.npy"),
        ("x.npz", "no archive", r"Can't read .*x\.npz"),
        ("x.png", "no picture", "Expected a model whose input is an image"),
        ("x.txt", "", r"ends in one of \.npy"),
    ],
)
def test_what_can_not_be_read_is_refused_with_a_reason(tmp_path, name, content, message):
    with pytest.raises(CommandError, match=message):
        read_examples(write(tmp_path / name, content), FEATURES)


def test_a_damaged_picture_is_refused(tmp_path):
    with pytest.raises(CommandError, match="Expected a picture"):
        read_examples(write(tmp_path / "x.png", "no picture"), IMAGE)


def test_fractions_and_overflow_are_not_made_whole_numbers(tmp_path):
    np.save(tmp_path / "x.npy", [[0.5, 1, 2]])
    with pytest.raises(CommandError, match="whole numbers"):
        read_examples(tmp_path / "x.npy", spec("ids", (None, 3), "int32"))
    np.save(tmp_path / "x.npy", [[300, 1, 2]])
    with pytest.raises(CommandError, match="range of uint8"):
        read_examples(tmp_path / "x.npy", spec("ids", (None, 3), "uint8"))


def test_an_empty_batch_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((0, 3)))
    with pytest.raises(CommandError, match="one or more examples"):
        read_examples(tmp_path / "x.npy", FEATURES)


def test_a_file_of_one_input_does_not_fit_a_model_of_several(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 3)))
    with pytest.raises(CommandError, match="takes 2: age, income"):
        read_examples(tmp_path / "x.npy", TWO)


def test_ragged_strings_are_refused(tmp_path):
    with pytest.raises(CommandError, match="different lengths"):
        read_examples(write(tmp_path / "x.json", [["a"], ["b", "c"]]), spec("text", (None, None), "object"))
