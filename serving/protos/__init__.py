"""The messages of TensorFlow Serving's interface, in a descriptor pool of their own.

`serving/protos/*.proto` are written for this project from the official field numbers, and
`python -m serving.protos.generate` makes the `_pb2` modules from them. Packages and full names are TensorFlow
Serving's, so that the wire format and the method names are too. The modules register in `serving.protos.pool`, not in
protobuf's default pool, where they would collide with the protos of TensorFlow once both are in one process.
"""
