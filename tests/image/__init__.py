"""Checks of the server's container image; `make test-image` runs them, a plain `pytest` does not collect them."""
