"""Class activation maps of image classifiers: Grad-CAM, Grad-CAM++, Score-CAM and Faster Score-CAM by tf-keras-vis.

`load` a classifier, `explain` a picture; importing this imports neither TensorFlow nor anything else that is slow.
METRICS and CONTROLS come from `camkit.faithfulness` when they are first asked for: it needs SciPy.
"""

from .explain import Cam, Explanation, Prediction, explain, explain_stream, top_predictions
from .imagenet import ImageNetClass, find_class
from .methods import METHODS, Method
from .models import MODELS, Classifier, load
from .picture import open_picture, to_rgb
from .render import COLORMAPS, heatmap, load_bundle, overlay, write_bundle
from .weights import WeightsError

__version__ = "0.1.0"
__all__ = [
    "COLORMAPS",
    "CONTROLS",
    "METHODS",
    "METRICS",
    "MODELS",
    "Cam",
    "Classifier",
    "Explanation",
    "ImageNetClass",
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
        from . import faithfulness

        return getattr(faithfulness, name)
    raise AttributeError(f"module 'camkit' has no attribute '{name}'")
