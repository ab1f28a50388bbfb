"""Class activation maps of image classifiers: Grad-CAM, Grad-CAM++, Score-CAM, Faster Score-CAM and LayerCAM by
tf-keras-vis.

`load` a classifier, `explain` a picture; importing this imports neither TensorFlow nor anything else that is slow.
Classifier, METRICS and CONTROLS come when they are first asked for: they need TensorFlow or SciPy.
"""

import os
import platform
import sys
from importlib import import_module

from .errors import InputError, WeightsError
from .explain import explain, explain_stream
from .explanation import Cam, Explanation, Prediction
from .export.bundle import load_bundle, write_bundle
from .export.figure import draw_figure
from .labels import ClassLabel, Labels, find_class, top_predictions
from .maps import COLORMAPS, box_of, heatmap, overlay
from .methods import DEFAULT_METHODS, METHODS, Method
from .models.registry import MODELS, load
from .picture import EXAMPLES, open_picture, to_rgb
from .version import __version__

__all__ = [
    "__version__",
    "COLORMAPS",
    "CONTROLS",
    "DEFAULT_METHODS",
    "EXAMPLES",
    "METHODS",
    "METRICS",
    "MODELS",
    "Cam",
    "ClassLabel",
    "Classifier",
    "Explanation",
    "InputError",
    "Labels",
    "Method",
    "Prediction",
    "WeightsError",
    "box_of",
    "draw_figure",
    "explain",
    "explain_stream",
    "find_class",
    "heatmap",
    "load",
    "load_bundle",
    "open_picture",
    "overlay",
    "to_rgb",
    "top_predictions",
    "write_bundle",
]

# TensorFlow uses oneDNN's kernels by itself only on processors with AVX-512 VNNI; they are 1.4 times as fast on other
# x86 processors too. It reads this variable once, when it is imported, which nothing above does.
if platform.machine().lower() in ("x86_64", "amd64") and "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_LATE = {"Classifier": ".classifier", "CONTROLS": ".evidence.metrics", "METRICS": ".evidence.metrics"}


def __getattr__(name: str):
    if name in _LATE:
        return getattr(import_module(_LATE[name], __name__), name)
    raise AttributeError(f"module 'camkit' has no attribute '{name}'")
