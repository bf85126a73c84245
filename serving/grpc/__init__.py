"""The gRPC side of the server: TensorFlow Serving's services and grpc.health.v1 over the data plane."""
