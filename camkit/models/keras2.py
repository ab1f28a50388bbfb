"""Clean the configuration of a model file so that Keras 3 builds the model that the file's Keras would have built.

Most of it is for files of Keras 2 (TensorFlow 2.15 and older, Teachable Machine's exports); operations such as `x + y`
in .h5 files are taken for layers by Keras 3 itself. Configurations are changed, no code of a file is run. The weights
are Keras's matter: by order in .h5, by path in .keras, each of them compared by shape.
"""

from __future__ import annotations

import copy
from inspect import getmodule
from typing import Any

import keras

from ..errors import InputError

# Arguments of Keras 2 that Keras 3 does not know, and that the value found says nothing by.
_DROPPED = {
    "DepthwiseConv2D": ("groups",),
    "SeparableConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "Conv2DTranspose": ("groups",),
    "InputLayer": ("ragged",),
    "SpatialDropout2D": ("noise_shape", "trainable"),
}
_RENAMED = {"BatchNormalizationV1": "BatchNormalization", "Model": "Functional"}
# TensorFlow's operations in a configuration of Keras 2 -> the class of keras.ops's, the names of what it is called with
# besides its first tensor, and of what it is made with. `preprocess_input` and arithmetic on tensors make these.
_OPERATIONS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "math.truediv": ("TrueDivide", ("y",), ()),
    "math.divide": ("TrueDivide", ("y",), ()),
    "math.subtract": ("Subtract", ("y",), ()),
    "math.multiply": ("Multiply", ("y",), ()),
    "math.add": ("Add", ("y",), ()),
    "__operators__.add": ("Add", ("y",), ()),
    "nn.bias_add": ("Add", ("bias",), ()),
    "math.maximum": ("Maximum", ("y",), ()),
    "math.minimum": ("Minimum", ("y",), ()),
    "math.negative": ("Negative", (), ()),
    "math.abs": ("Absolute", (), ()),
    "nn.relu": ("Relu", (), ()),
    "nn.relu6": ("Relu6", (), ()),
    "nn.softmax": ("Softmax", (), ("axis",)),
    "math.sigmoid": ("Sigmoid", (), ()),
    "math.reduce_mean": ("Mean", (), ("axis", "keepdims")),
    "math.reduce_max": ("Max", (), ("axis", "keepdims")),
    "cast": ("Cast", (), ("dtype",)),
    "__operators__.getitem": ("GetItem", ("slice_spec",), ()),
}


def keras2_hard_sigmoid(x):
    """Return Keras 2's hard sigmoid, which is steeper than the one that Keras 3 has by that name."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def cleaned(config: dict, version: str) -> dict:
    """Return a configuration that Keras 3 reads; `version`: of the Keras that wrote it, "" for an unknown one.

    Raises InputError for an operation of TensorFlow that keras.ops has no counterpart for here.
    """
    config = copy.deepcopy(config)
    if version.startswith(("1.", "2.")) or str(config.get("module")).startswith("keras.src.engine"):
        config = _module_paths(config)
        _clean_model(config)
    if "module" not in config:
        _name_operations(config)
    return config


# --- operations in .h5 -----------------------------------------------------------------------------------------------


def _module_of(class_name: str) -> str | None:
    """Return the module of an operation of keras.ops by the name of its class."""
    ops = keras.ops
    for function in (ops.add, ops.relu, ops.cast, ops.logsumexp, ops.image.resize, ops.norm):
        module = getmodule(function)
        found = getattr(module, class_name, None)
        if isinstance(found, type) and issubclass(found, keras.Operation):
            return module.__name__  # type: ignore[union-attr]
    return None


def _name_operations(config: dict) -> None:
    """Give the operations of .h5 files, which have no module and no `trainable`, the module that .keras files name."""
    for layer in _layers(config):
        _name_operations(layer)
        inside = layer.get("config", {})
        operation = "module" not in layer and "inbound_nodes" in layer and "layers" not in inside
        if operation and not {"trainable", "batch_shape", "batch_input_shape", "dtype"} & set(inside):
            module = _module_of(layer["class_name"])
            if module is not None:
                layer |= {"module": module, "registered_name": layer["class_name"]}


def _layers(config: dict) -> list[dict]:
    inside = config.get("config")
    return [each for each in inside.get("layers", ()) if isinstance(each, dict)] if isinstance(inside, dict) else []


# --- Keras 2 ---------------------------------------------------------------------------------------------------------


def _module_paths(part: Any) -> Any:
    """Return a configuration in which the classes of Keras 2's inner modules stand in Keras's public ones, and tensors
    as Keras 3 writes them are named as the layers will be."""
    if isinstance(part, list):
        return [_module_paths(each) for each in part]
    if not isinstance(part, dict):
        return part
    part = {key: _module_paths(value) for key, value in part.items()}
    if isinstance(history := part.get("keras_history"), list):
        part["keras_history"] = [_plain(history[0]), *history[1:]]
    if str(part.get("module", "")).split(".")[0] in ("keras", "tf_keras") and "class_name" in part:
        name = part["class_name"]
        public = next((each for each in (keras.layers, keras.initializers, keras) if hasattr(each, name)), None)
        if name == "Functional":
            part["module"] = "keras.src.models.functional"
        elif public is not None:
            part["module"] = public.__name__.replace("keras._tf_keras.", "").replace("keras.api.", "keras.")
        part["registered_name"] = None if part.get("registered_name") in (None, name) else part["registered_name"]
    return part


def _clean_model(config: dict) -> None:
    """Clean a model, its layers and the models nested in it, in place."""
    inside = config["config"]
    if isinstance(inside, list):  # of the oldest Sequential
        inside = config["config"] = {"name": "sequential", "layers": inside}
    config["class_name"] = _RENAMED.get(config["class_name"], config["class_name"])
    functional = "input_layers" in inside
    if "layers" not in inside:  # a class of the user's own
        return
    nested = {each["config"]["name"] for each in _layers(config) if "layers" in each["config"]}
    for layer in _layers(config):
        layer["class_name"] = _RENAMED.get(layer["class_name"], layer["class_name"])
        if "layers" in layer["config"] or isinstance(layer["config"], list):
            _clean_model(layer)
        else:
            _clean_layer(layer)
        if functional:
            if layer["class_name"] != "InputLayer":  # of a Normalization that was adapted before it was called
                layer["config"].pop("batch_input_shape", None)
            layer["name"] = layer["config"]["name"] = _plain(layer["config"]["name"])
            layer["inbound_nodes"] = [_clean_node(each, nested) for each in layer["inbound_nodes"]]
            _translate(layer, nested)
        else:
            layer["config"]["name"] = _plain(layer["config"]["name"])
    if not functional:
        _clean_inputs(inside)
    for key in ("input_layers", "output_layers"):
        if isinstance(inside.get(key), dict):
            inside[key] = {name: _place(each, nested) for name, each in inside[key].items()}
        elif key in inside:
            ends = [_place(each, nested) for each in _pairs(inside[key])]
            inside[key] = ends[0] if len(ends) == 1 else ends


def _clean_inputs(sequential: dict) -> None:
    """Let the shape of a Sequential's inputs stand in an InputLayer alone, in place."""
    shapes = [layer["config"].pop("batch_input_shape", None) for layer in sequential["layers"]]
    first = sequential["layers"][0]
    if first["class_name"] == "InputLayer":
        first["config"]["batch_shape"] = first["config"].pop("batch_shape", None) or shapes[0]
    elif shapes[0] is not None:
        config = {"name": f"{first['config']['name']}_input", "batch_shape": shapes[0], "dtype": "float32"}
        made: dict = {"class_name": "InputLayer", "config": config}
        if "module" in first:
            made |= {"module": "keras.layers", "registered_name": None}
        sequential["layers"].insert(0, made)


def _pairs(ends) -> list:
    return [ends] if ends and isinstance(ends[0], str) else ends


def _plain(name: str) -> str:
    """Return a name without the "/" that Keras 3 forbids."""
    return name.replace("/", "_")


def _clean_layer(layer: dict) -> None:
    config = layer["config"]
    for key in _DROPPED.get(layer["class_name"], ()):
        config.pop(key, None)
    config.pop("rng_type", None)
    if layer["class_name"] == "BatchNormalization" and isinstance(config.get("axis"), list):
        (config["axis"],) = config["axis"]
    if layer["class_name"] == "Normalization" and isinstance(config.get("axis"), list):
        config["axis"] = tuple(config["axis"]) if len(config["axis"]) != 1 else config["axis"][0]
    if config.get("activation") == "hard_sigmoid":
        name = keras2_hard_sigmoid.__name__
        function = {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
        config["activation"] = function if "module" in layer else name  # as .keras and .h5 hold functions
    if layer["class_name"] == "LeakyReLU" and "alpha" in config:
        config["negative_slope"] = config.pop("alpha")
    policy = config.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") == "Policy":
        config["dtype"] = policy["config"]["name"]


def _place(history: list, nested: set[str]) -> list:
    """Return which tensor is meant, [layer, call, tensor], with a clean name. For Keras 2 the making of a nested model
    is its call 0."""
    name, call, tensor = history
    return [_plain(name), call - 1 if name in nested else call, tensor]


def _clean_node(node, nested: set[str]):
    """Return a call of a layer with the tensors that go in as `_place` gives them."""
    if isinstance(node, list):
        node = [node] if node and isinstance(node[0], str) else node
        return [[*_place(each[:3], nested), *each[3:]] for each in node]
    return node


# --- TensorFlow's operations -----------------------------------------------------------------------------------------


def _translate(layer: dict, nested: set[str]) -> None:
    """Turn a TFOpLambda or SlicingOpLambda into the operation of keras.ops that computes the same, in place.

    Raises InputError for an operation or an argument that is not among _OPERATIONS: nothing of it is left out.
    """
    if layer["class_name"] not in ("TFOpLambda", "SlicingOpLambda"):
        return
    function = layer["config"].get("function", "")
    class_name, called, made = _OPERATIONS.get(function, ("", (), ()))
    config, nodes = {"name": layer["name"]}, []
    no_counterpart = InputError(
        f"The model has TensorFlow's operation {f'tf.{function}' if function else 'without a name'} that has no "
        "counterpart in Keras 3 here: replace it by a layer of Keras where the model was made, and save it again."
    )
    if not function or any(isinstance(node, dict) for node in layer["inbound_nodes"]):
        raise no_counterpart
    if _is_flip(layer):  # Keras does not read "..." in .h5
        class_name, called, config["axis"] = "Flip", (), -1
    for node in layer["inbound_nodes"]:
        name, index, value, *rest = node[0]
        given = {key: each for key, each in (rest[0] if rest else {}).items() if each is not None and key != "name"}
        given.pop("slice_spec" if class_name == "Flip" else "", None)
        if given.get("data_format") == "NHWC":
            del given["data_format"]
        elsewhere = any("class_name" in each for each in given.get("slice_spec", ()) if isinstance(each, dict))
        if not class_name or set(given) - {*called, *made} or len(node) != 1 or elsewhere:
            raise no_counterpart
        first = value if name == "_CONSTANT_VALUE" else _tensor([name, index, value])
        nodes.append({"args": [first, *(_argument(given[key], nested) for key in called)], "kwargs": {}})
        config |= {key: given[key] for key in made if key in given}
    layer.pop("build_config", None)
    layer |= {
        "module": _module_of(class_name),
        "class_name": class_name,
        "registered_name": class_name,
        "config": config,
        "inbound_nodes": nodes,
    }


def _argument(value, nested: set[str]):
    """Return an argument of a call as .keras files hold it: a tensor, parts of an index, an array, or a number."""
    if not isinstance(value, list):
        return value
    if len(value) == 3 and isinstance(value[0], str):
        return _tensor(_place(value, nested))
    if any(isinstance(each, dict) for each in value):
        return [_index(each) for each in value]
    return {"class_name": "__numpy__", "config": {"value": value, "dtype": "float32"}}


def _tensor(history: list) -> dict:
    return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": "float32", "keras_history": history}}


def _index(part):
    if not isinstance(part, dict):
        return part
    return {"class_name": "__slice__", "config": {key: part[key] for key in ("start", "stop", "step")}}


def _is_flip(layer: dict) -> bool:
    """Return whether an operation is `x[..., ::-1]`, by which `preprocess_input` makes BGR of RGB."""
    back = {"start": None, "stop": None, "step": -1}
    return all(
        isinstance(node[0][-1], dict) and node[0][-1].get("slice_spec") == [{"class_name": "__ellipsis__"}, back]
        for node in layer["inbound_nodes"]
    )
