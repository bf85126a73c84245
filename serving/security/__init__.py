"""Who may ask, and that nobody listens in: TLS, mutual TLS and bearer tokens, the same for REST and gRPC."""
