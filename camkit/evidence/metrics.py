"""METRICS, the numbers that say how far a map can be believed, BASELINES, and CONTROLS that a map has to beat.

It sees arrays, never a model, a layer or a picture file. Shapes: `inputs` (H, W, 3) float32, preprocessed; `cam_map`
(H, W) float32 in [0, 1]. Every value is a float or None; no NaN leaves this module, and each undefined case says what
it returns instead. What comes in is checked once, at the door (`camkit.evidence.curves.measure_stream`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from .observations import Maps, Measurement, Observations
from .road import REMOVED

# float32 arithmetic disagrees with itself by about this much when only the batch size or the code path changes.
FLOAT_NOISE = 1e-5
# Two maps closer to flat than this hold rounding errors, not structure, and their correlation would be noise.
_FLAT = 1e-6
# Side of the random control's grid: the last feature map of a 224-pixel classifier with stride 32.
_RANDOM_GRID = 7


# --- baselines -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Baseline:
    """A replacement picture. compute: (H, W, 3) float32 inputs -> a new (H, W, 3) float32 array."""

    key: str
    name: str
    compute: Callable[[np.ndarray], np.ndarray]


def _blur(inputs: np.ndarray) -> np.ndarray:
    """Return inputs behind a Gaussian of 11 x 11 taps and sigma 5 over height and width (RISE: k = 11, sigma = 5).

    The border is mirrored (SciPy's "reflect"), which keeps the picture's mean and invents no dark frame. RISE's own
    code pads with zeros and folds the kernel's tails back in, so its published areas differ in the last digits.
    """
    return gaussian_filter(inputs, sigma=5, radius=5, axes=(0, 1), mode="reflect")


BASELINES: dict[str, Baseline] = {
    baseline.key: baseline
    for baseline in (
        Baseline("blur", "Gaussian blur (k = 11, sigma = 5)", _blur),
        # Zero after preprocessing, which is not black: the mean colour for VGG16, mid grey for a [-1, 1] model.
        Baseline("zero", "the model's zero", np.zeros_like),
    )
}


# --- numbers of one picture ----------------------------------------------------------------------------------------


def masked(inputs: np.ndarray, cam_map: np.ndarray) -> np.ndarray:
    """Return the picture behind its map: L * x, after preprocessing (Grad-CAM++ 4.1), a new (H, W, 3) float32 array.
    Where the map is 0 the picture becomes the model's zero."""
    return inputs * cam_map[..., np.newaxis]


def covered(inputs: np.ndarray, region: np.ndarray, baseline: str = "zero") -> np.ndarray:
    """Return the picture with a region, (H, W) bool, replaced by a baseline: a new (H, W, 3) float32 array."""
    return np.where(region[..., np.newaxis], BASELINES[baseline].compute(inputs), inputs)


def confidence_drop(y: float, o: float) -> float:
    """Return the share of the confidence lost behind the mask: max(0, Y - O) / Y, in [0, 1].

    Source: Grad-CAM++ 4.1, whose Average Drop is its mean. Y = 0 leaves nothing to lose: 0.
    """
    return max(0.0, y - o) / y if y > 0 else 0.0


def increase(y: float, o: float) -> float:
    """Return 1.0 if the mask raised the confidence (Y < O), else 0.0; its mean is the Increase in Confidence.

    Source: Grad-CAM++ 4.1. A rise of less than 1e-5 of Y is float32 noise, not an increase: without this, a map that
    keeps every pixel would score 1 or 0 by accident.
    """
    return float(o > y * (1 + FLOAT_NOISE))


def gain(y: float, o: float) -> float:
    """Return the share of the missing confidence won behind the mask: max(0, O - Y) / (1 - Y), in [0, 1].

    Source: Average Gain, Opti-CAM (Zhang et al. 2023). Y = 1 leaves nothing to win: 0.
    """
    return max(0.0, o - y) / (1 - y) if y < 1 else 0.0


def complexity(cam_map: np.ndarray) -> float:
    """Return the mean of the map, in [0, 1]: how much of the picture it keeps (ADCC, Poppi et al. 2021)."""
    return float(cam_map.mean(dtype=np.float64))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's correlation of two maps of one shape, -1 to 1.

    It is undefined for a flat map. Two flat maps differ by a shift at most, which a correlation never sees: 1. A flat
    map beside one that is not shares nothing with it: 0.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    flat = [np.ptp(first) <= _FLAT, np.ptp(second) <= _FLAT]
    if any(flat):
        return 1.0 if all(flat) else 0.0
    first -= first.mean()
    second -= second.mean()
    pearson = (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())
    return float(np.clip(pearson, -1, 1))


def coherency(cam_map: np.ndarray, masked_cam: np.ndarray) -> float:
    """Return (Pearson(CAM(x), CAM(x * L)) + 1) / 2, in [0, 1]: 1 where the map stays when only what it shows is left.

    Source: ADCC, Poppi et al. 2021. Flat maps as in `correlation`.
    """
    return (correlation(cam_map, masked_cam) + 1) / 2


def adcc(coherency: float, complexity: float, drop: float) -> float:
    """Return the harmonic mean of coherency, 1 - complexity and 1 - drop, all in [0, 1] (ADCC, Poppi et al. 2021).

    A term of 0 would divide by zero; a harmonic mean tends to 0 there, so 0 is returned.
    """
    terms = (coherency, 1 - complexity, 1 - drop)
    return 3 / sum(1 / term for term in terms) if min(terms) > 0 else 0.0


def energy_inside(cam_map: np.ndarray, region: np.ndarray) -> float:
    """Return the share of the map's sum inside a region, (H, W) bool, in [0, 1]; 0 for a map that is zero everywhere.

    Source: energy-based pointing game, Score-CAM (Wang et al. 2020), section 4.3.
    """
    inside = float(cam_map[region].sum(dtype=np.float64))
    return inside / float(cam_map.sum(dtype=np.float64)) if inside > 0 else 0.0


# --- the metrics ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """One entry of METRICS, which is all that a metric needs: page, API, studies, reports and tests read the registry.

    format: a str.format pattern for one value, as in `metric.format.format(0.25)`.
    better: "lower" or "higher".
    summary: one sentence for a hover text. formula: plain text. source: the paper.
    compute: Observations -> float, or None if the observations lack what it needs. of_the_map: it takes Maps, so that
    it is measured for a model that gives no probability too.
    mean_name: what its mean over pictures is called, where that has a name of its own.
    share: it is 0 or 1 on a picture, so that its mean is a share of the pictures.
    """

    key: str
    name: str
    format: str
    better: str
    summary: str
    formula: str
    source: str
    compute: Callable[..., float | None]
    of_the_map: bool = False
    mean_name: str = ""
    share: bool = False


def _coherency_of(seen: Maps) -> float | None:
    return None if seen.masked_cam is None else coherency(seen.cam_map, seen.masked_cam)


def _adcc_of(seen: Observations) -> float | None:
    agreement = _coherency_of(seen)
    drop = confidence_drop(seen.probability, seen.masked_probability)
    return None if agreement is None else adcc(agreement, complexity(seen.cam_map), drop)


_GRAD_CAM_PP = "Chattopadhay et al. 2018, Grad-CAM++, section 4.1"
_RISE = "Petsiuk et al. 2018, RISE"
_ADCC = "Poppi et al. 2021, Revisiting the Evaluation of Class Activation Mapping for Explainability"

METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric(
            key="confidence_drop",
            name="Confidence drop",
            format="{:.1%}",
            better="lower",
            summary="Share of the class's confidence that is lost when the picture is seen through the map; "
            "a map that keeps everything gets 0, so read it beside complexity.",
            formula="max(0, Y - O) / Y",
            source=f"{_GRAD_CAM_PP} (Average Drop, here of one picture)",
            compute=lambda seen: confidence_drop(seen.probability, seen.masked_probability),
            mean_name="Average Drop",
        ),
        Metric(
            key="increase",
            name="Increase in confidence",
            format="{:.0f}",
            better="higher",
            summary="1 if the classifier is surer of the class when it sees the picture through the map, else 0.",
            formula="1 if Y < O else 0",
            source=f"{_GRAD_CAM_PP} (Increase in Confidence, here of one picture)",
            compute=lambda seen: increase(seen.probability, seen.masked_probability),
            mean_name="Increase in Confidence",
            share=True,
        ),
        Metric(
            key="gain",
            name="Confidence gain",
            format="{:.1%}",
            better="higher",
            summary="Share of the confidence still missing that is won when the picture is seen through the map.",
            formula="max(0, O - Y) / (1 - Y)",
            source="Zhang et al. 2023, Opti-CAM (Average Gain, here of one picture)",
            compute=lambda seen: gain(seen.probability, seen.masked_probability),
            mean_name="Average Gain",
        ),
        Metric(
            key="insertion",
            name="Insertion",
            format="{:.3f}",
            better="higher",
            summary="Area under the class's probability while the map's most important pixels are restored first.",
            formula="area of the probability over the restored share of the pixels, 0 to 1",
            source=f"{_RISE}, insertion metric",
            compute=lambda seen: seen.insertion.auc,
        ),
        Metric(
            key="deletion",
            name="Deletion",
            format="{:.3f}",
            better="lower",
            summary="Area under the class's probability while the map's most important pixels are removed first.",
            formula="area of the probability over the removed share of the pixels, 0 to 1",
            source=f"{_RISE}, deletion metric",
            compute=lambda seen: seen.deletion.auc,
        ),
        Metric(
            key="insertion_minus_deletion",
            name="Insertion - deletion",
            format="{:+.3f}",
            better="higher",
            summary="Insertion area less deletion area: how much the map's ranking of the pixels is worth; "
            "a ranking by chance is near the controls' value.",
            formula="insertion - deletion",
            source="Zhang, Rao and Yang 2021, Group-CAM (over-all score), on RISE's two areas",
            compute=lambda seen: seen.insertion.auc - seen.deletion.auc,
        ),
        Metric(
            key="road",
            name="ROAD",
            format="{:.3f}",
            better="lower",
            summary="The class's probability once the map's most important pixels are filled in from their neighbours, "
            f"so that no hole tells its shape; mean over {', '.join(f'{share:.0%}' for share in REMOVED)} removed.",
            formula="mean of the probability over the imputed shares of the pixels",
            source="Rong et al. 2022, ROAD (most relevant first)",
            compute=lambda seen: float(seen.imputed.mean()),
        ),
        Metric(
            key="complexity",
            name="Complexity",
            format="{:.3f}",
            better="lower",
            summary="Mean of the map: how much of the picture it claims to need.",
            formula="mean(L)",
            source=f"{_ADCC} (Complexity)",
            compute=lambda seen: complexity(seen.cam_map),
            of_the_map=True,
        ),
        Metric(
            key="coherency",
            name="Coherency",
            format="{:.3f}",
            better="higher",
            summary="Agreement of the map with the same method's map of the masked picture; "
            "a map that ignores the picture, as the controls do, gets 1.",
            formula="(Pearson(CAM(x), CAM(x * L)) + 1) / 2",
            source=f"{_ADCC} (Coherency)",
            compute=_coherency_of,
            of_the_map=True,
        ),
        Metric(
            key="adcc",
            name="ADCC",
            format="{:.3f}",
            better="higher",
            summary="Harmonic mean of coherency, 1 - complexity and 1 - confidence drop.",
            formula="3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop))",
            source=f"{_ADCC} (ADCC)",
            compute=_adcc_of,
        ),
    )
}


# --- the controls --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Control:
    """One entry of CONTROLS, a map that knows nothing of the picture; it is all that a control needs.

    phrase: what it is in the middle of a sentence. make: ((H, W), seed) -> (H, W) float32 in [0, 1]; the same shape and
    seed give the same map, and only `random` depends on the seed.
    """

    key: str
    name: str
    phrase: str
    summary: str
    make: Callable[[tuple[int, int], int], np.ndarray]


def _random_map(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return noise on a coarse grid, enlarged: as smooth as a CAM, so that it differs from one in place, not in grain.

    Noise of single pixels would lose to any blob, because scattered holes hurt a classifier wherever they are; the
    uniform control, whose ties are shuffled, already plays that part.
    """
    noise = np.random.default_rng(seed).random((_RANDOM_GRID, _RANDOM_GRID))
    factors = [side / _RANDOM_GRID for side in shape]
    blobs = zoom(noise, factors, order=1, mode="nearest", grid_mode=True)
    return ((blobs - blobs.min()) / (np.ptp(blobs) or 1.0)).astype(np.float32)


def _gaussian_map(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return a centred Gaussian whose sigma is a quarter of each side: the guess that the object is in the middle."""
    rows, columns = (np.exp(-8 * ((np.arange(side) - (side - 1) / 2) / side) ** 2) for side in shape)
    return np.outer(rows, columns).astype(np.float32)


def _uniform_map(shape: tuple[int, int], seed: int) -> np.ndarray:
    return np.ones(shape, np.float32)


CONTROLS: dict[str, Control] = {
    control.key: control
    for control in (
        Control(
            "random",
            "Random map",
            "random blobs",
            "Seeded random blobs, as smooth as a class activation map.",
            _random_map,
        ),
        Control(
            "gaussian",
            "Centred Gaussian",
            "a centred blob",
            "A blob in the middle, whatever the picture shows.",
            _gaussian_map,
        ),
        Control(
            "uniform",
            "Uniform map",
            "an even map",
            "Keeps everything: no confidence is lost, and its curves are those of a random order of single pixels.",
            _uniform_map,
        ),
    )
}


def beats_controls(measurement: Measurement, controls: Iterable[Measurement]) -> bool | None:
    """Return True if the map's insertion less deletion is strictly higher than that of every control; None where it was
    not measured.

    Only the order of the pixels counts here, so nothing is won by keeping more of the picture. The confidence drop
    alone would be won by the uniform control (it loses nothing), coherency too (it is 1 for every control), and
    complexity by an all-zero map. It is evidence from one picture and one random map, not a significance test.
    Raise ValueError if `controls` is empty.
    """
    rivals = [control.insertion_minus_deletion for control in controls]
    if not rivals:
        raise ValueError("There must be at least one control to compare with.")
    worth = measurement.insertion_minus_deletion
    return None if worth is None else worth > max(rival for rival in rivals if rival is not None)
