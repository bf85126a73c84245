"""The oracle network with the weights of a Keras model: read layer by layer, nothing is traced."""

import keras
import numpy as np

from tests.oracles import attention, layers, normalizations, resizing, sequences
from tests.oracles.network import Network, Node

STEPPED_OVER = ("softmax", "sigmoid")


def network_of(model):
    """The oracle of a functional or sequential model with one output; a final softmax or sigmoid is left out."""
    nodes = []
    names = {}  # of a tensor: the node that computes it
    masks = {}  # of a node: the one that computes its mask
    for layer in _functional(model).layers:
        if isinstance(layer, keras.layers.InputLayer):
            names[_key(layer.output)] = layer.name
            continue
        for use, keras_node in enumerate(layer._inbound_nodes):
            signals = [tensor for tensor in keras_node.input_tensors if tensor.dtype != "bool"]  # and no masks
            read = tuple(names.get(_key(tensor)) for tensor in signals)
            if None in read:
                continue
            mask = masks.get(read[0])
            if isinstance(layer, keras.layers.Embedding) and layer.mask_zero:
                mask = f"{layer.name}/{use}/mask"
                nodes.append(Node(mask, sequences.Mask(), read))
            if mask is not None and type(layer) in MASKED:
                read = (*read, mask)
            for part, oracle in enumerate(_layers(layer, keras_node.arguments.kwargs, masked=mask is not None)):
                name = f"{layer.name}/{use}/{part}"
                nodes.append(Node(name, oracle, read))
                read = (name,)
            names[_key(keras_node.output_tensors[0])] = read[0]
            if mask is not None:
                masks[read[0]] = mask
    while getattr(nodes[-1].layer, "function", None) in [layers.FUNCTIONS[name] for name in STEPPED_OVER]:
        nodes.pop()
    return Network([tensor._keras_history.operation.name for tensor in model.inputs], nodes)


def _functional(model):
    return model._functional if isinstance(model, keras.Sequential) else model


def _key(tensor):
    return id(tensor._keras_history.operation), tensor._keras_history.node_index, tensor._keras_history.tensor_index


def _layers(layer, options, *, masked):
    """The oracle layers of a Keras layer, in order: its own, and its fused activation."""
    if masked and type(layer) is keras.layers.GlobalAveragePooling1D:
        return [sequences.MaskedMean()]
    if type(layer) in ATTENTION:
        return [ATTENTION[type(layer)](layer, bool(options.get("use_causal_mask")))]
    if type(layer).__name__ == "Positions":
        return [sequences.Positions(_double(layer.table))]
    for keras_class, make in MAKERS.items():
        if type(layer) is keras_class:
            made = make(layer)
            return made if isinstance(made, list) else [made]
    raise NotImplementedError(f"No oracle for {type(layer).__name__}.")


def _double(variable):
    return np.asarray(variable, np.float64)


def _weights(layer):
    values = [np.asarray(value, np.float64) for value in layer.get_weights()]
    return values if len(values) == 2 else [values[0], None]


def _projection(layer):
    return _double(layer.kernel), None if layer.bias is None else _double(layer.bias)


def _heads(layer, causal):
    parts = (layer._query_dense, layer._key_dense, layer._value_dense, layer._output_dense)
    return attention.MultiHead(*(_projection(part) for part in parts), causal=causal)


def _dot(layer, causal):
    return attention.Dot(float(layer.scale) if layer.use_scale else 1.0, causal)


def _additive(layer, causal):
    return attention.Additive(_double(layer.scale) if layer.use_scale else 1.0, causal)


def _layer_normalization(layer):
    return sequences.LayerNormalization(_double(layer.gamma), _double(layer.beta), layer.epsilon)


def _fused(layer, oracle):
    name = layer.activation.__name__
    return [oracle] if name == "linear" else [oracle, layers.Activation(layers.FUNCTIONS[name])]


def _dense(layer):
    return _fused(layer, layers.Dense(*_weights(layer)))


def _convolution(layer):
    padding = layer.padding
    if padding == "causal":
        padding = [(layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0)]
    oracle = layers.Convolution(
        *_weights(layer), strides=layer.strides, padding=padding, dilations=layer.dilation_rate, groups=layer.groups
    )
    return _fused(layer, oracle)


def _batch_normalization(layer):
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
    gamma = np.asarray(layer.gamma, np.float64) if layer.scale else 1.0
    beta = np.asarray(layer.beta, np.float64) if layer.center else 0.0
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return layers.Scale(scale, beta - mean * scale)


def _pooling(oracle):
    return lambda layer: oracle(layer.pool_size, layer.strides, layer.padding)


def _global_pooling(oracle):
    def make(layer):
        return [oracle()] if layer.keepdims else [oracle(), layers.Move(np.ravel)]

    return make


def _zero_padding(layer):
    pads = [layer.padding] if isinstance(layer.padding[0], int) else layer.padding
    return layers.Move(lambda x: np.pad(x, [*pads, (0, 0)]))


def _cropping(layer):
    crops = [layer.cropping] if isinstance(layer.cropping[0], int) else layer.cropping
    return layers.Move(lambda x: x[tuple(slice(first, x.shape[i] - last) for i, (first, last) in enumerate(crops))])


def _activation(name):
    return lambda layer: layers.Activation(layers.FUNCTIONS[name])


def _leaky_relu(layer):
    return layers.Activation(lambda x: np.where(x > 0, x, layer.negative_slope * x))


def _sum(layer):
    return layers.Sum((1.0,) * len(layer.input))


def _up_sampling(layer):
    sizes = [layer.size] if isinstance(layer.size, int) else layer.size
    if getattr(layer, "interpolation", "nearest") == "bilinear":
        new_size = tuple(size * factor for size, factor in zip(layer.input.shape[1:3], sizes, strict=True))
        return resizing.Resizing(new_size, resizing.bilinear)

    def repeated(x):
        for axis, factor in enumerate(sizes):
            x = np.repeat(x, factor, axis=axis)
        return x

    return layers.Move(repeated)


def _resizing(layer):
    weights = {"nearest": resizing.nearest, "bilinear": resizing.bilinear}[layer.interpolation]
    return resizing.Resizing((layer.height, layer.width), weights)


def _group_normalization(layer):
    gamma, beta = (np.asarray(value, np.float64) for value in (layer.gamma, layer.beta))
    groups = layer.groups if layer.groups > 0 else len(gamma)
    return normalizations.Group(groups, gamma, beta, layer.epsilon)


ATTENTION = {
    keras.layers.AdditiveAttention: _additive,
    keras.layers.Attention: _dot,
    keras.layers.GroupQueryAttention: _heads,
    keras.layers.MultiHeadAttention: _heads,
}
# What reads a mask, where there is one.
MASKED = {keras.layers.GlobalAveragePooling1D, keras.layers.MultiHeadAttention}
MAKERS = {
    keras.layers.Activation: lambda layer: layers.Activation(layers.FUNCTIONS[layer.activation.__name__]),
    keras.layers.Add: _sum,
    keras.layers.Average: lambda layer: layers.Sum((1.0,) * len(layer.input), float(len(layer.input))),
    keras.layers.AveragePooling1D: _pooling(layers.AveragePooling),
    keras.layers.AveragePooling2D: _pooling(layers.AveragePooling),
    keras.layers.AveragePooling3D: _pooling(layers.AveragePooling),
    keras.layers.BatchNormalization: _batch_normalization,
    keras.layers.Concatenate: lambda layer: layers.Concatenate(layer.axis - 1 if layer.axis > 0 else layer.axis),
    keras.layers.Conv1D: _convolution,
    keras.layers.Conv2D: _convolution,
    keras.layers.Conv3D: _convolution,
    keras.layers.Cropping1D: _cropping,
    keras.layers.Cropping2D: _cropping,
    keras.layers.Dense: _dense,
    keras.layers.Dot: lambda _: layers.Dot(),
    keras.layers.Dropout: _activation("linear"),
    keras.layers.Embedding: lambda layer: sequences.Embedding(_double(layer.embeddings)),
    keras.layers.Flatten: lambda _: layers.Move(np.ravel),
    keras.layers.GlobalAveragePooling1D: _global_pooling(layers.AveragePooling),
    keras.layers.GlobalAveragePooling2D: _global_pooling(layers.AveragePooling),
    keras.layers.GlobalMaxPooling1D: _global_pooling(layers.MaxPooling),
    keras.layers.GlobalMaxPooling2D: _global_pooling(layers.MaxPooling),
    keras.layers.LayerNormalization: _layer_normalization,
    keras.layers.GroupNormalization: _group_normalization,
    keras.layers.LeakyReLU: _leaky_relu,
    keras.layers.Maximum: lambda _: layers.Extremum(1),
    keras.layers.MaxPooling1D: _pooling(layers.MaxPooling),
    keras.layers.MaxPooling2D: _pooling(layers.MaxPooling),
    keras.layers.MaxPooling3D: _pooling(layers.MaxPooling),
    keras.layers.Minimum: lambda _: layers.Extremum(-1),
    keras.layers.Permute: lambda layer: layers.Move(lambda x: np.transpose(x, [axis - 1 for axis in layer.dims])),
    keras.layers.Multiply: lambda _: layers.Product(),
    keras.layers.RMSNormalization: lambda layer: sequences.RMSNormalization(_double(layer.scale), layer.epsilon),
    keras.layers.ReLU: _activation("relu"),
    keras.layers.Rescaling: lambda layer: layers.Scale(layer.scale, layer.offset),
    keras.layers.Reshape: lambda layer: layers.Move(lambda x: np.reshape(x, layer.target_shape)),
    keras.layers.Resizing: _resizing,
    keras.layers.Softmax: _activation("softmax"),
    keras.layers.SpectralNormalization: lambda layer: _layers(layer.layer, {}, masked=False),
    keras.layers.Subtract: lambda _: layers.Sum((1.0, -1.0)),
    keras.layers.UnitNormalization: lambda layer: normalizations.Unit(layer.axis),
    keras.layers.UpSampling1D: _up_sampling,
    keras.layers.UpSampling2D: _up_sampling,
    keras.layers.UpSampling3D: _up_sampling,
    keras.layers.ZeroPadding1D: _zero_padding,
    keras.layers.ZeroPadding2D: _zero_padding,
}
