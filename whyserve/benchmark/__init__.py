"""How long predictions and explanations take, in process and served. Measures and reports; never judges."""
