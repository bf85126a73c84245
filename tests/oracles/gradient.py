"""The second oracle: input times the gradient of the network with its gates held fixed, by TensorFlow's own autodiff.

For epsilon -> 0 the epsilon rule with absorbing biases is just that (Shrikumar et al. 2017, Ancona et al. 2018; Arras
et al. 2025 for attention): an activation becomes x * stop_gradient(f(x) / x), so that relevance passes it whole; the
gates of recurrent layers, of squeeze-and-excitation and of a graph's structure are constants, and so are standard
deviations; a softmax is a constant too (Ali et al. 2022), or else it is left as it is and each product of two signals
counts half for either (Achtibat et al. 2024). The model is run layer by layer from its configuration and weights.
"""

import functools

import keras
import tensorflow as tf
from keras import layers

from tests.oracles.gradient_attention import attend
from tests.oracles.gradient_layers import LINEAR, PLAIN, gated, group_maximum, linear_part, normalized
from tests.oracles.gradient_recurrent import unrolled

# Below the first layer with weights relevance passes whole: the product is taken behind these.
PREPROCESSING = (layers.Rescaling, layers.Normalization)


def input_times_gradient(model, inputs, target, *, output=None, attention="gate"):
    """Relevance of each input.

    Args:
        model: A functional or sequential model in float64.
        inputs: Arrays by the inputs' names; tokens are whole numbers.
        target: Which value of the output, for each example; -1 is the largest.
        output: Which output, by its layer's name; None where there is one.
        attention: `gate` or `uniform`, as composites have it.

    Returns:
        Relevance by the inputs' names, in their shapes, float64.
    """
    with tf.GradientTape() as tape:
        return _Pass(tape, inputs, attention).relevance(model, target, output)


class _Pass:
    """One run of a model: the tensors that relevance is read at, what is a gate, and what is masked."""

    def __init__(self, tape, inputs, attention):
        self.tape, self.attention = tape, attention
        self.inputs = {name: tf.constant(value, None if value.dtype.kind == "i" else tf.float64)
                       for name, value in inputs.items()}  # fmt: skip
        self.read = [(name, x) for name, x in self.inputs.items() if x.dtype.is_floating]
        self.gates, self.masks, self.kept = set(), {}, []
        for _, x in self.read:
            tape.watch(x)

    def relevance(self, model, target, output):
        model = model._functional if isinstance(model, keras.Sequential) else model
        tensors = [self.inputs[_name(tensor)] for tensor in model.inputs]
        results = tf.nest.flatten(self.run(model, tensors))
        names = [_name(tensor) for tensor in model.outputs]
        scores = results[0 if output is None else names.index(output)]
        scores = tf.reshape(scores, [len(scores), -1])
        index = tf.where(target == -1, tf.argmax(scores, axis=-1), target)
        chosen = tf.gather(scores, index, axis=-1, batch_dims=1)
        with self.tape.stop_recording():
            gradients = self.tape.gradient(chosen, [x for _, x in self.read], unconnected_gradients="zero")
            found = {name: tf.zeros(x.shape, tf.float64) for name, x in self.inputs.items()}
            for (name, x), gradient in zip(self.read, gradients, strict=True):
                product = x * gradient
                found[name] += tf.reduce_sum(product, -1) if product.ndim > found[name].ndim else product
        return {name: value.numpy() for name, value in found.items()}

    def run(self, model, tensors):
        return model._run_through_graph(tensors, lambda operation: functools.partial(self.step, operation))

    def step(self, operation, *arguments, **options):
        """What the layer computes, detached; its mask."""
        result = self.result(operation, *arguments, **options)
        first = tf.nest.flatten(arguments)[0]
        mask = self.masks.get(id(first))
        if isinstance(operation, layers.Embedding) and operation.mask_zero:
            mask = tf.not_equal(first, 0)
        pooled = isinstance(operation, layers.GlobalAveragePooling1D)
        ends = isinstance(operation, (layers.RNN, layers.Bidirectional)) and not operation.return_sequences
        for tensor in tf.nest.flatten(result):
            self.kept.append(tensor)  # as long as it lives, no other tensor has its id
            if mask is not None and not pooled and not ends:
                self.masks[id(tensor)] = mask
        return result

    def result(self, operation, *arguments, **options):
        x, kind = arguments[0], type(operation)
        if not isinstance(operation, keras.layers.Layer) and not x.dtype.is_floating:
            return operation(*arguments, **options)  # masks, positions
        if isinstance(operation, (keras.Model, keras.Sequential)):
            inner = operation._functional if isinstance(operation, keras.Sequential) else operation
            return self.run(inner, arguments)
        if kind in PREPROCESSING and any(x is source for _, source in self.read):
            return self.read_at(x, operation(tf.stop_gradient(x)))
        if kind is layers.Embedding:
            return self.read_at(x, tf.gather(tf.convert_to_tensor(operation.embeddings), x))
        if kind in {layers.MultiHeadAttention, layers.GroupQueryAttention}:
            return attend(operation, *arguments, mask=self.masks.get(id(x)), attention=self.attention, **options)
        if kind is layers.Multiply:
            return self.product(x)
        if type(operation).__name__ == "Matmul":  # with an input: the structure of a graph
            return tf.matmul(tf.stop_gradient(x) if any(x is source for _, source in self.read) else x, arguments[1])
        return self.layer(operation, *arguments)

    def layer(self, operation, *arguments):
        x, kind = arguments[0], type(operation)
        if kind is layers.TimeDistributed:
            flat = self.layer(operation.layer, tf.reshape(x, [-1, *x.shape[2:]]))
            return tf.reshape(flat, [*x.shape[:2], *flat.shape[1:]])
        if kind in {layers.LSTM, layers.GRU, layers.SimpleRNN, layers.Bidirectional}:
            return unrolled(operation, x, self.masks.get(id(x)))
        if kind in {layers.LayerNormalization, layers.RMSNormalization}:
            return normalized(operation, x)
        if kind in {layers.MaxPooling1D, layers.MaxPooling2D, layers.GlobalMaxPooling1D}:
            return group_maximum(operation, x)
        if kind is layers.GlobalAveragePooling1D:
            return operation.call(x, mask=self.masks.get(id(x)))
        if kind is layers.Softmax:
            return x
        if kind in {layers.ReLU, layers.LeakyReLU}:
            return gated(operation.call, x)
        if hasattr(operation, "activation") and (kind is layers.Activation or kind in LINEAR):
            return self.activated(operation.activation, x if kind is layers.Activation else linear_part(operation, x))
        if kind in PLAIN or kind.__name__ in PLAIN:
            return operation(*arguments, **({"training": False} if kind is layers.BatchNormalization else {}))
        raise NotImplementedError(f"No gradient oracle for {kind.__name__}.")

    def activated(self, function, z):
        if function in {keras.activations.linear, keras.activations.softmax}:
            return z
        y = gated(function, z)
        if function is keras.activations.sigmoid:
            self.gates.add(id(y))
        return y

    def product(self, factors):
        a, b = factors
        if id(b) in self.gates:
            return a * tf.stop_gradient(b)
        return (a * tf.stop_gradient(b) + tf.stop_gradient(a) * b) / 2

    def read_at(self, source, tensor):
        """Relevance of an input is read at a tensor that was computed from it."""
        (name,) = {name for name, x in [*self.read, *self.inputs.items()] if x is source}
        tensor = tf.stop_gradient(tensor)
        self.tape.watch(tensor)
        self.read.append((name, tensor))
        return tensor


def _name(tensor):
    return tensor._keras_history.operation.name
