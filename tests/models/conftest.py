import pytest

# h5py asks Keras' variables for an array without a copy, which NumPy 2 announces to refuse one day (Keras 3.15).
ARRAY_COPY = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid.startswith("tests/models/"):
            item.add_marker(pytest.mark.filterwarnings(ARRAY_COPY))
