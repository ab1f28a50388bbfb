"""Class activation maps of image classifiers: Grad-CAM, Grad-CAM++, Score-CAM and Faster Score-CAM by tf-keras-vis.

`load` a classifier, `explain` a picture; importing this imports neither TensorFlow nor anything else that is slow.
METRICS and CONTROLS come from `camkit.evidence.metrics` when they are first asked for: it needs SciPy.
"""

from .bundle import load_bundle, write_bundle
from .classifier import Classifier
from .errors import InputError, WeightsError
from .explain import explain, explain_stream, top_predictions
from .explanation import Cam, Explanation, Prediction
from .labels import ImageNetClass, find_class
from .maps import COLORMAPS, heatmap, overlay
from .methods import METHODS, Method
from .models import MODELS, load
from .picture import open_picture, to_rgb
from .version import __version__

__all__ = [
    "__version__",
    "COLORMAPS",
    "CONTROLS",
    "METHODS",
    "METRICS",
    "MODELS",
    "Cam",
    "Classifier",
    "Explanation",
    "ImageNetClass",
    "InputError",
    "Method",
    "Prediction",
    "WeightsError",
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


def __getattr__(name: str):
    if name in ("CONTROLS", "METRICS"):
        from .evidence import metrics

        return getattr(metrics, name)
    raise AttributeError(f"module 'camkit' has no attribute '{name}'")
