import pytest

from models.architecture import ImageTask
from models.errors import TrainingConfigError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((8, 8), 10), r"`image_shape` must be \(height, width, channels\), each >= 1. Received: image_shape=\(8, 8\)"),
        (((8, 0, 1), 10), r"image_shape=\(8, 0, 1\)"),
        (((8, 8, 1), 1), r"`num_classes` must be >= 2. Received: num_classes=1"),
        (((8, 8, 1), 2, (5.0, 5.0)), r"`pixel_range` must rise. Received: pixel_range=\(5.0, 5.0\)"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(TrainingConfigError, match=message):
        ImageTask(*arguments)
