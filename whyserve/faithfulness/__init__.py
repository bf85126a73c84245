"""Whether a bundle's explanations name what its predictions hang on: deletion and insertion curves."""
