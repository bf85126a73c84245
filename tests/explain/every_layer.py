"""Every layer of `keras.layers`: explained, refused with a reason, or no layer of a served model.

A new Keras brings layers that stand in none of these tables; `test_every_layer.py` then fails until they are placed.
"""

import keras
from keras import layers

VECTOR, SEQUENCE, IMAGE, VOLUME, VIDEO = (5,), (6, 4), (8, 8, 3), (4, 4, 4, 2), (3, 6, 6, 2)
TOKENS, TOKEN = "tokens", "token"
IN_SINGLE = {"dtype": "float32"}  # TensorFlow pools volumes in no other precision, on a CPU


def _alone(name, *arguments, **options):
    return lambda: getattr(layers, name)(*arguments, **options)


def _together(name, **options):
    """A layer that reads two signals, here one twice."""
    return lambda: lambda x: getattr(layers, name)(**options)([x, keras.ops.tanh(x)])


def _attention(name, **options):
    return lambda: lambda x: getattr(layers, name)(**options)(x, x)


def _padded(x):
    """A sequence with two steps more, which are masked."""
    return layers.Masking()(layers.ZeroPadding1D((0, 2))(x))


def _masked(name):
    return lambda: lambda x: getattr(layers, name)()([_padded(x), layers.Dense(4)(_padded(x))])


def _with_states(x):
    """Two LSTMs, the second of which starts where the first one ends."""
    sequence, *states = layers.LSTM(3, return_sequences=True, return_state=True)(x)
    return layers.Concatenate()([layers.LSTM(3)(sequence, initial_state=states), *states])


# The layer, how it is made, and the shape of what it reads.
EXPLAINED = {
    **{name: (_alone(name), VECTOR) for name in ("ELU", "Identity", "LeakyReLU", "PReLU", "ReLU", "Softmax")},
    **{
        name: (_alone(name, 0.5), VECTOR)
        for name in ("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization")
    },
    "Activation": (_alone("Activation", "relu"), VECTOR),
    **{name: (_together(name), VECTOR) for name in ("Add", "Average", "Concatenate", "Maximum", "Minimum")},
    **{name: (_together(name), VECTOR) for name in ("Multiply", "Subtract")},
    "Dot": (_together("Dot", axes=1), VECTOR),
    "AdditiveAttention": (_together("AdditiveAttention"), SEQUENCE),
    "Attention": (_together("Attention"), SEQUENCE),
    "MultiHeadAttention": (_attention("MultiHeadAttention", num_heads=2, key_dim=3), SEQUENCE),
    "GroupedQueryAttention": (
        _attention("GroupQueryAttention", head_dim=3, num_query_heads=2, num_key_value_heads=1),
        SEQUENCE,
    ),
    **{
        f"{kind}{rank}D": (_alone(f"{kind}{rank}D", *options, **(IN_SINGLE if rank == 3 else {})), shape)
        for kind, options in (
            ("AdaptiveAveragePooling", (2,)), ("AdaptiveMaxPooling", (2,)),
            ("AveragePooling", (3, 2, "same")), ("MaxPooling", (3, 2, "same")),
        )
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    **{
        f"UpSampling{rank}D": (_alone(f"UpSampling{rank}D", 2), shape)
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    **{
        f"{kind}{rank}D": (_alone(f"{kind}{rank}D"), shape)
        for kind in ("GlobalAveragePooling", "GlobalMaxPooling", "Cropping", "ZeroPadding")
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    **{
        f"{kind}{rank}D{transpose}": (_alone(f"{kind}{rank}D{transpose}", 2, 2), shape)
        for kind, transpose in (("Conv", ""), ("Conv", "Transpose"))
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    **{
        f"SpatialDropout{rank}D": (_alone(f"SpatialDropout{rank}D", 0.5), shape)
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    "SeparableConv1D": (_alone("SeparableConv1D", 2, 2), SEQUENCE),
    "SeparableConv2D": (_alone("SeparableConv2D", 2, 2), IMAGE),
    "DepthwiseConv1D": (_alone("DepthwiseConv1D", 2), SEQUENCE),
    "DepthwiseConv2D": (_alone("DepthwiseConv2D", 2), IMAGE),
    "Dense": (_alone("Dense", 3), VECTOR),
    "EinsumDense": (_alone("EinsumDense", "ab,bc->ac", 4), VECTOR),
    "BatchNormalization": (_alone("BatchNormalization"), SEQUENCE),
    "GroupNormalization": (_alone("GroupNormalization", 1), IMAGE),
    "LayerNormalization": (_alone("LayerNormalization"), SEQUENCE),
    "Normalization": (_alone("Normalization", mean=1.0, variance=2.0), VECTOR),
    "RMSNormalization": (_alone("RMSNormalization"), SEQUENCE),
    "SpectralNormalization": (lambda: layers.SpectralNormalization(layers.Conv2D(2, 3)), IMAGE),
    "UnitNormalization": (_alone("UnitNormalization"), SEQUENCE),
    **{name: (_alone(name, 3), SEQUENCE) for name in ("GRU", "LSTM", "SimpleRNN")},
    "Bidirectional": (lambda: layers.Bidirectional(layers.GRU(3)), SEQUENCE),
    "RNN": (lambda: layers.RNN(layers.LSTMCell(3)), SEQUENCE),
    "StackedRNNCells": (
        lambda: layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(2)])),
        SEQUENCE,
    ),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Conv2D(2, 3)), VIDEO),
    "Masking": (lambda: lambda x: layers.SimpleRNN(3)(layers.Masking()(x)), SEQUENCE),
    "Flatten": (_alone("Flatten"), SEQUENCE),
    "Permute": (_alone("Permute", (2, 1)), SEQUENCE),
    "RepeatVector": (_alone("RepeatVector", 3), VECTOR),
    "Reshape": (_alone("Reshape", (4, 6)), SEQUENCE),
    "Lambda": (lambda: layers.Lambda(lambda x: 2 * x), VECTOR),
    "Rescaling": (_alone("Rescaling", 2.0, 1.0), VECTOR),
    "CenterCrop": (_alone("CenterCrop", 4, 4), IMAGE),
    "Resizing": (_alone("Resizing", 4, 5), IMAGE),
    "AutoContrast": (_alone("AutoContrast"), IMAGE),
    "Solarization": (_alone("Solarization"), IMAGE),
    "ContrastLimitedAdaptiveHistogramEqualization": (_alone("ContrastLimitedAdaptiveHistogramEqualization"), IMAGE),
    "STFTSpectrogram": (
        _alone("STFTSpectrogram", frame_length=16, frame_step=8, fft_length=16),
        (32, 1),
    ),
    "Pipeline": (lambda: layers.Pipeline([layers.Rescaling(2.0)]), IMAGE),
    "Embedding": (_alone("Embedding", 9, 4), TOKENS),
    "ReversibleEmbedding": (_alone("ReversibleEmbedding", 9, 4), TOKENS),
    "CategoryEncoding": (_alone("CategoryEncoding", 9, output_mode="count"), TOKENS),
    "Discretization": (_alone("Discretization", [0.0, 1.0], output_mode="one_hot"), (1,)),
}  # fmt: skip

# The same layers in other forms: strides, paddings, interpolations, masks, states.
VARIANTS = {
    "Conv1D_causal": (_alone("Conv1D", 2, 3, padding="causal", dilation_rate=2), SEQUENCE),
    "Conv2D_grouped": (_alone("Conv2D", 6, 3, groups=3, padding="same", strides=2), IMAGE),
    "Conv3D_strided": (_alone("Conv3D", 2, 3, padding="same", strides=2), VOLUME),
    **{
        f"Conv{rank}DTranspose_strided": (_alone(f"Conv{rank}DTranspose", 2, 3, padding="same", strides=2), shape)
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    "DepthwiseConv1D_strided": (_alone("DepthwiseConv1D", 3, padding="same", strides=2), SEQUENCE),
    "SeparableConv1D_dilated": (_alone("SeparableConv1D", 2, 2, padding="same", dilation_rate=2), SEQUENCE),
    "SeparableConv2D_strided": (_alone("SeparableConv2D", 2, 3, padding="same", strides=2), IMAGE),
    "AveragePooling3D_overlapping": (_alone("AveragePooling3D", 2, 1, **IN_SINGLE), VOLUME),
    "MaxPooling3D_overlapping": (_alone("MaxPooling3D", 2, 1, **IN_SINGLE), VOLUME),
    "MaxPooling2D_plain": (_alone("MaxPooling2D"), IMAGE),
    "UpSampling2D_bilinear": (_alone("UpSampling2D", 2, interpolation="bilinear"), IMAGE),
    "Resizing_nearest": (_alone("Resizing", 5, 11, interpolation="nearest"), IMAGE),
    "Resizing_within": (lambda: lambda x: layers.Resizing(5, 11)(layers.Conv2D(2, 2)(x)), IMAGE),
    "Cropping2D_uneven": (_alone("Cropping2D", ((1, 2), (0, 3))), IMAGE),
    "ZeroPadding2D_uneven": (_alone("ZeroPadding2D", ((1, 2), (0, 3))), IMAGE),
    "GroupNormalization_of_three": (_alone("GroupNormalization", 3), IMAGE),
    "SpectralNormalization_dense": (lambda: layers.SpectralNormalization(layers.Dense(3)), VECTOR),
    "MultiHeadAttention_causal": (
        lambda: lambda x: layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True),
        SEQUENCE,
    ),
    "Attention_masked": (_masked("Attention"), SEQUENCE),
    "AdditiveAttention_masked": (_masked("AdditiveAttention"), SEQUENCE),
    "Embedding_masked": (lambda: lambda x: layers.LSTM(3)(layers.Embedding(9, 4, mask_zero=True)(x)), TOKENS),
    "GRU_reset_before": (_alone("GRU", 3, reset_after=False), SEQUENCE),
    "GRU_masked": (lambda: lambda x: layers.GRU(3, return_sequences=True)(_padded(x)), SEQUENCE),
    "LSTM_states": (lambda: _with_states, SEQUENCE),
}

# Explained, but ONNX has no such operation, and no bundle is written: what the refusal says.
NOT_IN_ONNX = {
    "Hashing": (_alone("Hashing", 5, output_mode="one_hot"), TOKEN, "'StringToHashBucketFast'.*'functional.*hashing"),
    "IntegerLookup": (
        _alone("IntegerLookup", vocabulary=[1, 2, 3], output_mode="one_hot"),
        TOKEN,
        r"integer_lookup.*\(a lookup table",
    ),
}

# Loops and complex numbers: refused by name.
REFUSED = {
    "ConvLSTM1D": (_alone("ConvLSTM1D", 2, 3), (4, 6, 3), r"TensorListStack.*belongs to a loop"),
    "ConvLSTM2D": (_alone("ConvLSTM2D", 2, 3), VIDEO, r"TensorListStack.*belongs to a loop"),
    "ConvLSTM3D": (_alone("ConvLSTM3D", 2, 2), (2, 4, 4, 4, 1), r"TensorListStack.*belongs to a loop"),
    "MelSpectrogram": (
        _alone("MelSpectrogram", num_mel_bins=4, sequence_stride=32, fft_length=64, sampling_rate=1000),
        (256,),
        "'Imag'",
    ),
}

# What prediction leaves out: they change their input in training only.
TRAINING_ONLY = frozenset(
    {
        "AugMix", "CutMix", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter",
        "RandomContrast", "RandomCrop", "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur",
        "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation",
        "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
    }
)  # fmt: skip

# Part of no functional model by itself, or of none that TensorFlow runs.
NOT_SERVED = {
    "GRUCell": "a cell of RNN",
    "LSTMCell": "a cell of RNN",
    "SimpleRNNCell": "a cell of RNN",
    "InputLayer": "an input",
    "Layer": "abstract",
    "Wrapper": "abstract",
    "Equalization": "computes on whole numbers in eager mode",
    "MaxNumBoundingBoxes": "reads boxes, not numbers",
    "FlaxLayer": "runs in JAX",
    "JaxLayer": "runs in JAX",
    "TorchModuleWrapper": "runs in PyTorch",
    "TFSMLayer": "a SavedModel: a call of a function that was traced before",
    "HashedCrossing": "reads words",
    "StringLookup": "reads words",
    "TextVectorization": "reads words",
}
