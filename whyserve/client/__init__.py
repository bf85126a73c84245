"""Asks a running server, over REST or gRPC, or a bundle without one."""
