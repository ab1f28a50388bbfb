"""The OUTPUTS registry: what the numbers mean that a model gives for a picture.

An entry is all that a new kind needs: how a model is read, the passes' scores, the maps, the metrics, the page, the API
and the reports read this registry. Shapes: scores (N, units) are what a model with its ending taken off gives, the
numbers that are explained; answers (N, units) are what people read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return (N, classes) logits as (N, classes) float32 probabilities, computed in float64."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Return scores of any shape as float32 probabilities, 1 / (1 + exp(-score)), computed in float64."""
    return np.exp(-np.logaddexp(0, -np.asarray(scores, np.float64))).astype(np.float32)


def percent(probability: float) -> str:
    """Return a probability in [0, 1] as text; never 0 % for what is not zero."""
    return f"{probability:.1%}" if probability >= 0.001 else f"{100 * probability:.2g}%"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """One entry of OUTPUTS.

    summary: what an answer is, in words. hint: what the page says beside the answers. quantity: the word for one
    answer, and its name in JSON; where it is "probability", it lies in [0, 1] and metrics that take one are measured.
    answers: (N, units) scores -> (N, units) float32. in_words: one answer as text. effect: what the strong places of a
    map do to what is explained.
    channel_weights: what Score-CAM multiplies channels with: the (n, units) scores of masked pictures and the class
    index -> (n,); None for the softmax that tf-keras-vis takes itself. weight: the same in words.
    over_baseline: scores of masked pictures count from that of the model's zero (Wang et al. 2020, definition 2).
    lowest_score: Grad-CAM++ takes exp(score), and a lower one is raised to this: the factor is common to a map.
    guessed, fits: the endings of models (see models/endings.py) that mean this kind where it is not said, and those for
    which it may be said; None for any. units: how many numbers such a model gives, None for any.
    pairs: one unit stands for two classes. whole: the ending belongs to the score and is not taken off.
    """

    key: str
    summary: str
    hint: str
    quantity: str
    answers: Callable[[np.ndarray], np.ndarray]
    in_words: Callable[[float], str]
    effect: str = "speaks for"
    channel_weights: Callable[[np.ndarray, int], np.ndarray] | None
    weight: str
    over_baseline: bool = False
    lowest_score: float = -np.inf
    guessed: frozenset[str] = frozenset()
    fits: frozenset[str] | None = None
    units: int | None = None
    pairs: bool = False
    whole: bool = False

    @property
    def are_probabilities(self) -> bool:
        return self.quantity == "probability"

    def said(self, answer: float) -> str:
        """Return an answer with its name, such as "probability 12.5%"."""
        return f"{self.quantity} {self.in_words(answer)}"


_ONE_CLASS = frozenset(("softmax", "log_softmax", "linear", "probabilities", "one sigmoid", "one probability"))
_LABELS = frozenset(("sigmoid", "probability"))

OUTPUTS: dict[str, Outputs] = {
    each.key: each
    for each in (
        Outputs(
            key="classes",
            summary="one class out of several, whose probabilities add up to 1",
            hint="choose a class to explain it",
            quantity="probability",
            answers=softmax,
            in_words=percent,
            channel_weights=None,
            weight="the probability of the class",
            guessed=_ONE_CLASS,
            fits=_ONE_CLASS | {"one linear"},
            pairs=True,
        ),
        Outputs(
            key="labels",
            summary="several labels at once, each with a probability of its own",
            hint="each with a probability of its own; choose a label to explain it",
            quantity="probability",
            answers=sigmoid,
            in_words=percent,
            channel_weights=lambda scores, index: sigmoid(scores[:, index]),
            weight="of several labels the sigmoid of the label's score",
            guessed=_LABELS,
            fits=_LABELS | {"linear", "one linear", "one sigmoid", "one probability"},
        ),
        Outputs(
            key="value",
            summary="one value",
            hint="the maps show what raises it",
            quantity="value",
            answers=lambda scores: np.asarray(scores, np.float32),
            in_words="{:.4g}".format,
            effect="raises",
            channel_weights=lambda scores, index: scores[:, index],
            weight="of a value its rise over that of the model's zero",
            over_baseline=True,
            lowest_score=0.0,
            units=1,
            whole=True,
        ),
    )
}
CLASSES = OUTPUTS["classes"]
