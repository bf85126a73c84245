"""HTTP/2 (RFC 9113) and gRPC over it, for servers, on the event loop. grpcio's took most of the time of a call."""
