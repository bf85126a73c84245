"""Real images at any size: crops of the two photographs that come with scikit-learn."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

# Edge of the smallest crop: less of a photograph is a plain surface.
_SMALLEST_CROP = 64


def photo_crops(count: int, size: int, *, seed: int) -> np.ndarray:
    """Square crops of every place and scale, every other one mirrored.

    Args:
        count: How many.
        size: Their edge in pixels.
        seed: Of the places.

    Returns:
        Pixels of 0 to 255, `(count, size, size, 3) float32`.
    """
    photos = load_sample_images().images
    generator = np.random.default_rng(seed)
    crops = [_crop(photos[i % len(photos)], size, generator) for i in range(count)]
    return np.stack([crop[:, ::-1] if i % 4 > 1 else crop for i, crop in enumerate(crops)]).astype(np.float32)


def _crop(photo: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    height, width = photo.shape[:2]
    edge = int(generator.integers(_SMALLEST_CROP, min(height, width), endpoint=True))
    top, left = (int(generator.integers(0, length - edge, endpoint=True)) for length in (height, width))
    cut = Image.fromarray(photo[top : top + edge, left : left + edge])
    return np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR))
