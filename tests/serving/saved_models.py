"""TF1 SavedModels with the oddities of TensorFlow Serving's own test models; built anew."""

from pathlib import Path
from typing import Any

# Names of tensors, as TensorFlow Serving's models have them.
EXAMPLES, OTHER_EXAMPLES = "tf_example", "other_tf_example"


def write_examples_model(base_path: Path, version: int = 1) -> Path:
    """Writes y = x / 2 + 2, from the float feature `x` of serialized examples or from the tensor `x` itself.

    Signatures `serving_default`, `with_default` (predict), `classify` (one score, y), `classify_both` (labels and
    scores), `classify_labels`, `regress` (y), `regress_plus_three` (y + 1), `regress_other` (y, of another tensor of
    examples), `wrong_*`, whose outputs or inputs no RPC over examples can use, and some for what REST can't write.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    path = base_path / str(version)
    with tf.Graph().as_default(), v1.Session() as session:
        half = v1.get_variable("half", initializer=0.5, use_resource=False)
        y, x, serialized = _half_plus_two(tf, EXAMPLES, half)
        other_y, _, other = _half_plus_two(tf, OTHER_EXAMPLES, half)
        batch = tf.shape(y)[0]
        labels = tf.tile(tf.constant([["small", "large"]]), tf.stack([batch, 1]))
        both = tf.concat([y, y + 10.0], axis=1)
        signatures = {
            "serving_default": _define(v1, {"x": x}, {"y": y}),
            "with_default": _define(v1, {"x": x}, {"y": y}),
            "half": _define(v1, {"x": v1.placeholder(tf.float16, [None], name="half_x")}, {"y": y}),
            "scalar": _define(v1, {"x": x}, {"y": tf.reduce_sum(tf.reshape(y, [-1]))}),
            "two_batches": _define(v1, {"x": x}, {"s": tf.concat([y, y], 0), "y": y}),
            "two_inputs": _define(v1, {"x": x, "unused": half}, {"y": y}),
            "classify": _define(v1, {"inputs": serialized}, {"scores": y}, "tensorflow/serving/classify"),
            "classify_both": _define(v1, {"inputs": serialized}, {"classes": labels, "scores": both}),
            "classify_labels": _define(v1, {"inputs": serialized}, {"classes": labels}),
            "regress": _define(v1, {"inputs": serialized}, {"outputs": y}, "tensorflow/serving/regress"),
            "regress_plus_three": _define(v1, {"inputs": serialized}, {"outputs": y + 1.0}),
            "regress_other": _define(v1, {"inputs": other}, {"outputs": other_y}),
            "wrong_two_inputs": _define(v1, {"inputs": serialized, "x": x}, {"scores": y}),
            "wrong_outputs": _define(v1, {"inputs": serialized}, {"a": y, "b": y, "c": y}),
            "wrong_names": _define(v1, {"inputs": serialized}, {"y": y}),
            "wrong_input": _define(v1, {"inputs": x}, {"outputs": y}),
            "wrong_rank": _define(v1, {"inputs": serialized}, {"scores": tf.squeeze(y, 1)}),
            "wrong_type": _define(v1, {"inputs": serialized}, {"scores": tf.cast(y, tf.float64)}),
            "wrong_labels": _define(v1, {"inputs": serialized}, {"classes": tf.cast(both, tf.int64)}),
            "wrong_rows": _define(v1, {"inputs": serialized}, {"scores": tf.concat([y, y], 0)}),
            "wrong_columns": _define(v1, {"inputs": serialized}, {"classes": labels, "scores": y}),
            "wrong_regress_shape": _define(v1, {"inputs": serialized}, {"outputs": both}),
            "wrong_regress_rows": _define(v1, {"inputs": serialized}, {"outputs": tf.concat([y, y], 0)}),
            "wrong_regress_type": _define(v1, {"inputs": serialized}, {"outputs": tf.cast(y, tf.float64)}),
        }
        signatures["with_default"].defaults["x"].CopyFrom(tf.make_tensor_proto([[2.0]]))
        _save(v1, session, path, signatures)
    return path


def write_counter_model(base_path: Path) -> Path:
    """Writes version 1 of a counter: a reference variable, and signatures without inputs.

    Signatures `get_counter`, `incr_counter`, `reset_counter`, which take nothing, and `incr_counter_by` of `delta`.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    path = base_path / "1"
    with tf.Graph().as_default(), v1.Session() as session:
        counter = v1.get_variable("counter", initializer=0.0, use_resource=False)
        delta = v1.placeholder(tf.float32, name="delta")
        signatures = {
            "get_counter": _define(v1, {}, {"output": counter}),
            "incr_counter": _define(v1, {}, {"output": v1.assign_add(counter, 1.0)}),
            "incr_counter_by": _define(v1, {"delta": delta}, {"output": v1.assign_add(counter, delta)}),
            "reset_counter": _define(v1, {}, {"output": v1.assign(counter, 0.0)}),
        }
        _save(v1, session, path, signatures)
    return path


def write_half_plus_three_model(base_path: Path) -> Path:
    """Writes version 1 of y = x / 2 + 3, whose signatures say what isn't so: scalars, and examples that are floats.

    Signatures `serving_default` (of the tensor `x`) and `tensorflow/serving/regress` (of examples with a feature `x`).
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    path = base_path / "1"
    with tf.Graph().as_default(), v1.Session() as session:
        half = v1.get_variable("half", initializer=0.5, use_resource=False)
        plus_two, x, serialized = _half_plus_two(tf, EXAMPLES, half)
        y = plus_two + 1.0
        signatures = {
            "serving_default": _define(v1, {"x": x}, {"y": y}),
            "tensorflow/serving/regress": _define(
                v1, {"inputs": serialized}, {"outputs": y}, "tensorflow/serving/regress"
            ),
        }
        for signature in signatures.values():
            for info in (*signature.inputs.values(), *signature.outputs.values()):
                info.dtype = tf.float32.as_datatype_enum
                info.tensor_shape.CopyFrom(tf.TensorShape([]).as_proto())
        _save(v1, session, path, signatures)
    return path


def _save(v1: Any, session: Any, path: Path, signatures: Any) -> None:
    session.run(v1.global_variables_initializer())
    builder = v1.saved_model.Builder(str(path))
    builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
    builder.save()


def _half_plus_two(tf: Any, name: str, half: Any) -> tuple[Any, Any, Any]:
    """The output, the tensor `x` that is parsed (no placeholder), and the serialized examples."""
    v1 = tf.compat.v1
    serialized = v1.placeholder(tf.string, [None], name=name)
    # TF1's own operation: `tf.io.parse_example` makes a newer one.
    empty = tf.constant([], tf.float32)
    parsed = tf.raw_ops.ParseExample(
        serialized=serialized,
        name=f"{name}_parsed",
        names=tf.constant([], tf.string),
        sparse_keys=[],
        dense_keys=[tf.constant("x")],
        dense_defaults=[empty],
        sparse_types=[],
        dense_shapes=[tf.TensorShape([1])],
    )
    x = tf.identity(parsed.dense_values[0], name=name.replace(EXAMPLES, "x"))
    return x * half + 2.0, x, serialized


def _define(v1: Any, inputs: Any, outputs: Any, method: str = "tensorflow/serving/predict") -> Any:
    info = v1.saved_model.build_tensor_info
    return v1.saved_model.build_signature_def(
        {name: info(tensor) for name, tensor in inputs.items()},
        {name: info(tensor) for name, tensor in outputs.items()},
        method,
    )
