"""The METHODS registry: one entry a visualizer of tf-keras-vis, pure data that imports no library.

An entry is all that a new method needs: the page, the API, the studies and the tests read this registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import InputError, quoted
from .passes.outputs import OUTPUTS


@dataclass(frozen=True, kw_only=True)
class Method:
    """One entry of METHODS.

    summary: how it works, one line. formula: what is computed, in LaTeX. differs: from the paper, as tf-keras-vis
    computes it. visualizer: where tf-keras-vis keeps the class. channels: (C, max_n) -> how many channels a Score-CAM
    run takes; None for methods that read one gradient instead. traceable: the visualizer's call runs inside a
    tf.function, which takes a tenth of the time; one that calls NumPy, as Gradcam's does, cannot. default: computed
    where no methods are chosen, and ticked on the page.
    """

    key: str
    name: str
    summary: str
    formula: str
    differs: str
    paper: str
    url: str
    visualizer: str
    channels: Callable[[int, int], int] | None = None
    traceable: bool = False
    default: bool = True

    @property
    def uses_gradient(self) -> bool:
        return self.channels is None

    def takes(self, count: int, max_n: int) -> int:
        """Return how many of a layer's `count` channels a run takes: all for a gradient method."""
        return count if self.channels is None else self.channels(count, max_n)

    def is_fast(self, count: int, max_n: int) -> bool:
        """Return True when it does without a pass for each of a layer's `count` channels."""
        return self.uses_gradient or self.takes(count, max_n) < count


METHODS: dict[str, Method] = {
    method.key: method
    for method in (
        Method(
            key="gradcam",
            name="Grad-CAM",
            summary="Adds up the layer's channels, each weighted by its mean gradient.",
            formula=r"\mathrm{ReLU}\Big(\sum_k \alpha_k A^k\Big),\quad "
            r"\alpha_k = \frac{1}{hw}\sum_{i,j}\frac{\partial y^c}{\partial A^k_{ij}}",
            differs="Computed as in the paper.",
            paper="Selvaraju et al. 2017, Grad-CAM: Visual Explanations from Deep Networks via Gradient-based "
            "Localization",
            url="https://arxiv.org/abs/1610.02391",
            visualizer="tf_keras_vis.gradcam:Gradcam",
        ),
        Method(
            key="gradcam_plus_plus",
            name="Grad-CAM++",
            summary="Like Grad-CAM, but each position's positive gradient counts by its share.",
            formula=r"\mathrm{ReLU}\Big(\sum_k w_k A^k\Big),\quad "
            r"w_k = \sum_{i,j} \frac{\alpha^k_{ij}}{\sum_{a,b}\alpha^k_{ab}}"
            r"\,\mathrm{ReLU}\Big(e^{y^c}\,g^k_{ij}\Big),\quad "
            r"\alpha^k_{ij} = \frac{(g^k_{ij})^2}{2 (g^k_{ij})^2 + (g^k_{ij})^3 \sum_{a,b} A^k_{ab}},\quad "
            r"g^k_{ij} = \frac{\partial y^c}{\partial A^k_{ij}}",
            differs="tf-keras-vis divides by the sum of all alphas; the authors' code sums only those with a positive "
            "gradient. The paper does not divide. A score above 60 is lowered to 60 before the exponential, which "
            "would overflow.",
            paper="Chattopadhay et al. 2018, Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks",
            url="https://arxiv.org/abs/1710.11063",
            visualizer="tf_keras_vis.gradcam_plus_plus:GradcamPlusPlus",
            traceable=True,
        ),
        Method(
            key="faster_scorecam",
            name="Faster Score-CAM",
            summary="Score-CAM on the few channels that vary most over the picture.",
            formula=r"\mathrm{ReLU}\Big(\sum_{k \in K} p_c(x \circ H^k)\, A^k\Big),\quad "
            r"K = \text{the } N \text{ channels of largest standard deviation}",
            differs="Not from a paper: an idea by Tabayashi, published as code. Weights as in Score-CAM here.",
            paper="tabayashi0117, Score-CAM (code), section Faster-Score-CAM",
            url="https://github.com/tabayashi0117/Score-CAM#faster-score-cam",
            visualizer="tf_keras_vis.scorecam:Scorecam",
            channels=lambda count, max_n: min(count, max_n),
        ),
        Method(
            key="scorecam",
            name="Score-CAM",
            summary="Shows the model the picture through each channel; the answer is its weight.",
            formula=r"\mathrm{ReLU}\Big(\sum_k p_c(x \circ H^k)\, A^k\Big),\quad "
            r"H^k = \mathrm{normalise}(\mathrm{expand}(A^k))",
            differs=f"The weight is, for the masked picture, {'; '.join(each.weight for each in OUTPUTS.values())}. "
            "The paper takes the rise of the score over a baseline picture, then a softmax over channels.",
            paper="Wang et al. 2020, Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
            url="https://arxiv.org/abs/1910.01279",
            visualizer="tf_keras_vis.scorecam:Scorecam",
            channels=lambda count, max_n: count,
        ),
        Method(
            key="layercam",
            name="LayerCAM",
            summary="Weights each position of each channel by its own positive gradient; made for early layers too.",
            formula=r"\mathrm{ReLU}\Big(\sum_k w^k \odot A^k\Big),\quad "
            r"w^k_{ij} = \mathrm{ReLU}\Big(\frac{\partial y^c}{\partial A^k_{ij}}\Big)",
            differs="Computed as in the paper for one layer; the paper also joins the scaled maps of several layers.",
            paper="Jiang et al. 2021, LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
            url="https://ieeexplore.ieee.org/document/9462463",
            visualizer="tf_keras_vis.layercam:Layercam",
            default=False,
        ),
    )
}
DEFAULT_METHODS = tuple(key for key, method in METHODS.items() if method.default)


def check_methods(methods) -> tuple[str, ...]:
    """Return the method keys in the registry's order, each once; InputError for none or an unknown one."""
    wanted = (methods,) if isinstance(methods, str) else tuple(methods or ())
    if not wanted:
        named = ", ".join(f"{method.name} ({key})" for key, method in METHODS.items())
        raise InputError(f"No method is chosen: choose at least one of {named}.")
    for key in wanted:
        if not isinstance(key, str) or key not in METHODS:
            raise InputError(f"Method '{quoted(key)}' is unknown: use one of {', '.join(METHODS)}.")
    return tuple(key for key in METHODS if key in wanted)
