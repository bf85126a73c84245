"""The Open Inference Protocol (KServe V2), whatever transport it comes by; REST and gRPC only read and write it."""
