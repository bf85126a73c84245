"""Recurrent layers: Keras runs them as loops, which can't be walked, so that each layer is one step of the pass.

While a model is traced, `explain.recurrent.recording` notes what a recurrent layer read and computed and marks what it
returned; when relevance arrives at such a mark, `explain.recurrent.propagation` shares it out as Arras et al. have it.
"""
