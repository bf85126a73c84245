"""Reads a picture as a model's input: gray or colour, at the model's size."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from serving.types import TensorInfo
from whyserve.errors import CommandError
from whyserve.inputs.fit import Examples, fit

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_image(path: Path, spec: TensorInfo, *, pixel_max: float = 255.0) -> Examples:
    """One picture as a batch of one.

    Args:
        path: A .png, .jpg, .bmp or .gif file.
        spec: The model's input, `(batch, height, width)` or `(batch, height, width, channels)`.
        pixel_max: The value of a full pixel that the model was trained on; pictures hold 0 to 255.

    Returns:
        The batch, with a note that says what was changed.

    Raises:
        CommandError: The file is no picture, or the model takes none.
    """
    height, width, channels = _geometry(spec)
    try:
        picture: Image.Image = Image.open(path)
        picture.load()
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise CommandError(f"Expected a picture. Received: {path}, which can't be read ({error})") from error
    note = f"{path.name}: {picture.width} x {picture.height} {picture.mode}"
    mode = MODES[channels]
    if picture.mode != mode:
        picture = picture.convert(mode)
        note += f", converted to {'gray' if mode == 'L' else mode}"
    size = (width or picture.width, height or picture.height)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        note += f", resized to {size[0]} x {size[1]}"
    pixels = np.asarray(picture)
    if pixel_max != 255:
        pixels = pixels * (pixel_max / 255)
        note += f", pixels scaled from 0..255 to 0..{pixel_max:g}"
    return Examples({spec.name: fit(pixels, spec)}, notes=(note,))


def _geometry(spec: TensorInfo) -> tuple[int | None, int | None, int]:
    """Height, width and channels of the input; None where any size will do."""
    shape = spec.shape or ()
    channels = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or channels not in MODES:
        raise CommandError(
            "Expected a model whose input is an image, (batch, height, width[, 1, 3 or 4 channels]). "
            f"Received: input '{spec.name}' of shape {shape}. Send .npy, .npz, .json or .csv."
        )
    return shape[1], shape[2], channels
