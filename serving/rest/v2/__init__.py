"""The Open Inference Protocol (KServe V2) over REST, with the extensions of Triton that its client uses."""
