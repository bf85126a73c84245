"""The REST side of the server: TensorFlow Serving's URLs and explanations over the data plane, in ASGI."""
