"""The engines that run a model version: `onnxruntime` (our bundles, no TensorFlow in the process) and `tensorflow`."""
