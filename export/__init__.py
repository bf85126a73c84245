"""Exports Keras models to checked, versioned bundles: SavedModel, ONNX, manifest. Importing it loads nothing heavy."""
