"""How far a map can be believed: METRICS, the curves behind them, and the CONTROLS every map has to beat.

It sees a scoring function and arrays, never a model, a layer or a picture file, and imports NumPy and SciPy only.
Shapes: `inputs` (H, W, 3) float32, preprocessed; `cam_map` (H, W) float32 in [0, 1];
`score_fn`: (N, H, W, 3) float32 -> (N,) probabilities of ONE class, the same class wherever a number is compared.
Every value is a float or None; no NaN leaves this module, and each undefined case says what it returns instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from numbers import Integral

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

ScoreFn = Callable[[np.ndarray], np.ndarray]
CamFn = Callable[[np.ndarray], np.ndarray]

# float32 arithmetic disagrees with itself by about this much when only the batch size or the code path changes.
_FLOAT_NOISE = 1e-5
# Two maps closer to flat than this hold rounding errors, not structure, and their correlation would be noise.
_FLAT = 1e-6
# Any fixed number does; it differs from the controls' default seed so that the two shuffles are unrelated.
_TIE_SEED = 20260
# Side of the random control's grid: the last feature map of a 224-pixel classifier with stride 32.
_RANDOM_GRID = 7


# --- what is handed back -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Curve:
    """Probability of one class while pixels change, most important first.

    fractions: (steps + 1,) float64 in [0, 1], share of the pixels changed so far, from 0 to 1, never decreasing.
    probabilities: (steps + 1,) float64 in [0, 1].
    """

    fractions: np.ndarray
    probabilities: np.ndarray

    @property
    def auc(self) -> float:
        """Area under the curve, trapezoid rule over the fraction, in [0, 1] (RISE, Petsiuk et al. 2018)."""
        return float(np.trapezoid(self.probabilities, self.fractions))


@dataclass(frozen=True, eq=False)
class Measurement:
    """The raw observations of one map, from which every metric is computed; a new metric needs no other source.

    probability, masked_probability: Y and O, floats in [0, 1], of the same class.
    cam_map: (H, W) float32 in [0, 1].
    masked_cam: (H, W) float32 in [0, 1], the method's map of the masked picture, or None if it was not asked for.
    insertion, deletion: Curve.
    """

    probability: float
    masked_probability: float
    cam_map: np.ndarray
    masked_cam: np.ndarray | None
    insertion: Curve
    deletion: Curve


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Everything measured on one map.

    key: the method's or the control's key.
    metrics: one value per entry of METRICS; None where the value was not measured (coherency without a `cam_fn`).
    insertion, deletion: the two curves.
    scored: pictures that went through `score_fn` for this result.
    """

    key: str
    metrics: dict[str, float | None]
    insertion: Curve
    deletion: Curve
    scored: int


# --- baselines -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Baseline:
    """A replacement picture. compute: (H, W, 3) float32 inputs -> a new (H, W, 3) float32 array."""

    key: str
    name: str
    compute: Callable[[np.ndarray], np.ndarray]


def _blur(inputs: np.ndarray) -> np.ndarray:
    """Gaussian of 11 x 11 taps and sigma 5, over height and width only (RISE: k = 11, sigma = 5).

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
    """The picture seen through its map: L * x, after preprocessing (Grad-CAM++ 4.1).

    inputs: (H, W, 3) float. cam_map: (H, W) in [0, 1]. Returns a new (H, W, 3) float32 array; where the map is 0 the
    picture becomes the model's zero. Raises ValueError for wrong shapes, values outside [0, 1] or not finite.
    """
    inputs = _checked_inputs(inputs)
    return inputs * _checked_map(cam_map, inputs.shape[:2])[..., np.newaxis]


def confidence_drop(y: float, o: float) -> float:
    """Share of the confidence lost behind the mask: max(0, Y - O) / Y, in [0, 1]; its mean is the Average Drop.

    Source: Grad-CAM++ 4.1. Y = 0 leaves nothing to lose: 0. Raises ValueError if y or o is not a probability.
    """
    y, o = _checked_probability(y, "y"), _checked_probability(o, "o")
    return max(0.0, y - o) / y if y > 0 else 0.0


def increase(y: float, o: float) -> float:
    """1.0 if the mask raised the confidence (Y < O), else 0.0; its mean is the Increase in Confidence.

    Source: Grad-CAM++ 4.1. A rise of less than 1e-5 of Y is float32 noise, not an increase: without this, a map that
    keeps every pixel would score 1 or 0 by accident. Raises ValueError if y or o is not a probability.
    """
    y, o = _checked_probability(y, "y"), _checked_probability(o, "o")
    return float(o > y * (1 + _FLOAT_NOISE))


def gain(y: float, o: float) -> float:
    """Share of the missing confidence won behind the mask: max(0, O - Y) / (1 - Y), in [0, 1].

    Source: Average Gain, Opti-CAM (Zhang et al. 2023). Y = 1 leaves nothing to win: 0. Raises ValueError if y or o is
    not a probability.
    """
    y, o = _checked_probability(y, "y"), _checked_probability(o, "o")
    return max(0.0, o - y) / (1 - y) if y < 1 else 0.0


def complexity(cam_map: np.ndarray) -> float:
    """Mean of the map, in [0, 1]: how much of the picture it keeps (ADCC, Poppi et al. 2021).

    cam_map: (H, W) in [0, 1]. Raises ValueError for any other shape or range.
    """
    return float(_checked_map(cam_map).mean(dtype=np.float64))


def coherency(cam_map: np.ndarray, masked_cam: np.ndarray) -> float:
    """(Pearson(CAM(x), CAM(x * L)) + 1) / 2, in [0, 1]: does the map stay when only what it shows is left?

    cam_map, masked_cam: (H, W) in [0, 1], same shape. Source: ADCC, Poppi et al. 2021.
    Pearson's correlation is undefined for a flat map. Two flat maps differ by a shift at most, which a correlation
    never sees: 1.0. A flat map beside one that is not shares nothing with it, correlation 0: 0.5.
    Raises ValueError for wrong shapes or ranges.
    """
    first = _checked_map(cam_map).astype(np.float64)
    second = _checked_map(masked_cam, first.shape, "masked_cam").astype(np.float64)
    flat = [np.ptp(first) <= _FLAT, np.ptp(second) <= _FLAT]
    if any(flat):
        return 1.0 if all(flat) else 0.5
    first -= first.mean()
    second -= second.mean()
    pearson = (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())
    return float(np.clip((pearson + 1) / 2, 0, 1))


def adcc(coherency: float, complexity: float, drop: float) -> float:
    """Harmonic mean of coherency, 1 - complexity and 1 - drop, all in [0, 1] (ADCC, Poppi et al. 2021).

    A term of 0 would divide by zero; a harmonic mean tends to 0 there, so 0 is returned. Raises ValueError if an
    argument is outside [0, 1].
    """
    terms = (
        _checked_probability(coherency, "coherency"),
        1 - _checked_probability(complexity, "complexity"),
        1 - _checked_probability(drop, "drop"),
    )
    return 3 / sum(1 / term for term in terms) if min(terms) > 0 else 0.0


# --- the metrics ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """One entry of METRICS.

    format: a str.format pattern for one value, as in `metric.format.format(0.25)`.
    better: "lower" or "higher".
    summary: one sentence for a hover text. formula: plain text. source: the paper.
    compute: Measurement -> float, or None if the measurement lacks what it needs.
    """

    key: str
    name: str
    format: str
    better: str
    summary: str
    formula: str
    source: str
    compute: Callable[[Measurement], float | None]


def _drop_of(seen: Measurement) -> float:
    return confidence_drop(seen.probability, seen.masked_probability)


def _coherency_of(seen: Measurement) -> float | None:
    return None if seen.masked_cam is None else coherency(seen.cam_map, seen.masked_cam)


def _adcc_of(seen: Measurement) -> float | None:
    agreement = _coherency_of(seen)
    return None if agreement is None else adcc(agreement, complexity(seen.cam_map), _drop_of(seen))


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
            compute=_drop_of,
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
            key="complexity",
            name="Complexity",
            format="{:.3f}",
            better="lower",
            summary="Mean of the map: how much of the picture it claims to need.",
            formula="mean(L)",
            source=f"{_ADCC} (Complexity)",
            compute=lambda seen: complexity(seen.cam_map),
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
    """A map that knows nothing of the picture. make: ((H, W), seed) -> (H, W) float32 in [0, 1].

    The same shape and seed give the same map; only `random` depends on the seed.
    """

    key: str
    name: str
    summary: str
    make: Callable[[tuple[int, int], int], np.ndarray]


def _random_map(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Noise on a coarse grid, enlarged: as smooth as a CAM, so that it differs from one in place, not in grain.

    Noise of single pixels would lose to any blob, because scattered holes hurt a classifier wherever they are; the
    uniform control, whose ties are shuffled, already plays that part.
    """
    noise = np.random.default_rng(seed).random((_RANDOM_GRID, _RANDOM_GRID))
    factors = [side / _RANDOM_GRID for side in shape]
    blobs = zoom(noise, factors, order=1, mode="nearest", grid_mode=True)
    return ((blobs - blobs.min()) / (np.ptp(blobs) or 1.0)).astype(np.float32)


def _gaussian_map(shape: tuple[int, int], seed: int) -> np.ndarray:
    """A centred Gaussian whose sigma is a quarter of each side: the guess that the object is in the middle."""
    rows, columns = (np.exp(-8 * ((np.arange(side) - (side - 1) / 2) / side) ** 2) for side in shape)
    return np.outer(rows, columns).astype(np.float32)


def _uniform_map(shape: tuple[int, int], seed: int) -> np.ndarray:
    return np.ones(shape, np.float32)


CONTROLS: dict[str, Control] = {
    control.key: control
    for control in (
        Control("random", "Random map", "Seeded random blobs, as smooth as a class activation map.", _random_map),
        Control("gaussian", "Centred Gaussian", "A blob in the middle, whatever the picture shows.", _gaussian_map),
        Control(
            "uniform",
            "Uniform map",
            "Keeps everything: no confidence is lost, and its curves are those of a random order of single pixels.",
            _uniform_map,
        ),
    )
}


def beats_controls(methods_result: Faithfulness, controls: Iterable[Faithfulness]) -> bool:
    """True if the map's insertion minus deletion is strictly higher than that of every control.

    Only the order of the pixels counts here, so nothing is won by keeping more of the picture. The confidence drop
    alone would be won by the uniform control (it loses nothing), coherency too (it is 1 for every control), and
    complexity by an all-zero map. It is evidence from one picture and one random map, not a significance test.
    Raises ValueError if `controls` is empty.
    """
    rivals = [control.metrics["insertion_minus_deletion"] for control in controls]
    if not rivals:
        raise ValueError("controls must hold at least one Faithfulness to compare with, got none.")
    return methods_result.metrics["insertion_minus_deletion"] > max(rivals)


# --- the curves ----------------------------------------------------------------------------------------------------


def insertion_curve(
    score_fn: ScoreFn,
    inputs: np.ndarray,
    cam_map: np.ndarray,
    steps: int = 28,
    baseline: str = "blur",
    batch_size: int = 32,
) -> Curve:
    """Start from the baseline and restore the most important pixels first (RISE, Petsiuk et al. 2018).

    inputs: (H, W, 3) float, preprocessed. cam_map: (H, W) in [0, 1]. steps: points after the first one; it need not
    divide H * W, each step's pixel count is rounded. baseline: a key of BASELINES. batch_size: most pictures in one
    call of `score_fn`. Equal pixels come in a fixed shuffled order. Sends steps + 1 pictures through `score_fn`.
    Raises ValueError for bad arguments, or if `score_fn` does not return (N,) probabilities.
    """
    run = _protocol(score_fn, inputs, steps, batch_size, insertion_baseline=baseline)
    return _curve(run, run.insertion_start, run.inputs, cam_map)


def deletion_curve(
    score_fn: ScoreFn,
    inputs: np.ndarray,
    cam_map: np.ndarray,
    steps: int = 28,
    baseline: str = "zero",
    batch_size: int = 32,
) -> Curve:
    """Start from the picture and replace the most important pixels first (RISE, Petsiuk et al. 2018).

    Arguments, cost and errors as for insertion_curve.
    """
    run = _protocol(score_fn, inputs, steps, batch_size, deletion_baseline=baseline)
    return _curve(run, run.inputs, run.deletion_end, cam_map)


@dataclass(frozen=True, eq=False)
class _Protocol:
    """Checked arguments that all maps of one picture share, with the baselines computed once."""

    score_fn: ScoreFn
    inputs: np.ndarray
    insertion_start: np.ndarray
    deletion_end: np.ndarray
    steps: int
    batch_size: int

    @property
    def counts(self) -> np.ndarray:
        """(steps + 1,) pixels changed at each point of a curve; exactly 0 first and all of them last."""
        pixels = self.inputs.shape[0] * self.inputs.shape[1]
        return np.rint(np.linspace(0, pixels, self.steps + 1)).astype(int)

    @property
    def fractions(self) -> np.ndarray:
        return self.counts / self.counts[-1]


def _protocol(
    score_fn: ScoreFn,
    inputs: np.ndarray,
    steps: int,
    batch_size: int,
    insertion_baseline: str = "blur",
    deletion_baseline: str = "zero",
) -> _Protocol:
    inputs = _checked_inputs(inputs)
    return _Protocol(
        score_fn=score_fn,
        inputs=inputs,
        insertion_start=_checked_baseline(insertion_baseline).compute(inputs),
        deletion_end=_checked_baseline(deletion_baseline).compute(inputs),
        steps=_checked_count(steps, "steps"),
        batch_size=_checked_count(batch_size, "batch_size"),
    )


def _curve(run: _Protocol, start: np.ndarray, end: np.ndarray, cam_map: np.ndarray) -> Curve:
    cam_map = _checked_map(cam_map, run.inputs.shape[:2])
    pictures = _pictures(start, end, cam_map, run.counts)
    return Curve(run.fractions, np.concatenate(list(_scores(run, pictures))))


def _order(cam_map: np.ndarray) -> np.ndarray:
    """(H * W,) flat indices, most important first; equal pixels in a fixed random order.

    A stable sort would restore the zeros of a map row by row from the top left, which is an opinion about the
    picture that the map never gave. A fixed shuffle has none, and gives the same curve on every run.
    """
    shuffled = np.random.default_rng(_TIE_SEED).permutation(cam_map.size)
    return np.lexsort((shuffled, -cam_map.ravel()))


def _pictures(start: np.ndarray, end: np.ndarray, cam_map: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the (H, W, 3) pictures from `start` to `end`; one buffer, rewritten between two yields."""
    order = _order(cam_map)
    pixels, target = start.reshape(-1, 3).copy(), end.reshape(-1, 3)
    for done, upto in zip([0, *counts], counts):
        changed = order[done:upto]
        pixels[changed] = target[changed]
        yield pixels.reshape(start.shape)


def _scores(run: _Protocol, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the (n,) float64 scores of each batch; at most `batch_size` pictures are alive at a time."""
    pictures = iter(pictures)
    # Copies, because the pictures of a curve share one buffer, and because score_fn may write into its batch.
    while batch := [picture.copy() for picture in islice(pictures, run.batch_size)]:
        yield _checked_scores(run.score_fn(np.stack(batch)), len(batch))


# --- all of it -----------------------------------------------------------------------------------------------------


def measure(
    score_fn: ScoreFn,
    inputs: np.ndarray,
    cam_map: np.ndarray,
    cam_fn: CamFn | None = None,
    key: str = "",
    probability: float | None = None,
    steps: int = 28,
    insertion_baseline: str = "blur",
    deletion_baseline: str = "zero",
    batch_size: int = 32,
) -> Faithfulness:
    """Compute every entry of METRICS for one map of one picture.

    inputs: (H, W, 3) float, preprocessed; never modified. cam_map: (H, W) in [0, 1].
    cam_fn: (H, W, 3) float32 masked inputs -> (H, W) in [0, 1], the same method and class on the masked picture, for
    coherency; None leaves coherency and adcc None.
    probability: Y if it is already known, of the very class that `score_fn` scores; None scores it.
    steps, baselines, batch_size: see insertion_curve. Sends 2 * steps + 1 pictures through `score_fn`, one more
    without `probability`: the picture itself is where one curve ends and the other starts, and is scored once.
    Raises ValueError for bad arguments, or if `score_fn` or `cam_fn` returns something else than described.
    """
    run = _protocol(score_fn, inputs, steps, batch_size, insertion_baseline, deletion_baseline)
    cam_map = _checked_map(cam_map, run.inputs.shape[:2])
    *_, result = _measuring(run, key, cam_map, cam_fn, _checked_optional(probability))
    return result


def measure_stream(
    score_fn: ScoreFn,
    inputs: np.ndarray,
    maps: Mapping[str, np.ndarray],
    cam_fns: Mapping[str, CamFn] | None = None,
    probability: float | None = None,
    steps: int = 28,
    insertion_baseline: str = "blur",
    deletion_baseline: str = "zero",
    batch_size: int = 32,
    controls: Iterable[str] = tuple(CONTROLS),
    seed: int = 0,
    heartbeat: bool = False,
) -> Iterator[tuple[str, Faithfulness | None]]:
    """Measure several maps of one picture, then the controls; yield (key, Faithfulness) after each.

    maps: key -> (H, W) in [0, 1]. cam_fns: key -> cam_fn of `measure`; a key without one gets no coherency.
    controls: keys of CONTROLS; seed: for the random one. Others: see `measure`. Y is scored at most once for all.
    A control's map of the masked picture is that same map again, so its coherency is 1 by construction, and its ADCC
    says only what complexity and drop say.
    heartbeat: also yield (key, None) after every call of `score_fn`, so that closing the iterator stops the work
    between two batches, and before a `cam_fn`; without it, closing stops between two maps. An exception raised by
    `score_fn` passes through and stops the work as well.
    Raises ValueError for bad arguments, at the call and not at the first result.
    """
    run = _protocol(score_fn, inputs, steps, batch_size, insertion_baseline, deletion_baseline)
    shape = run.inputs.shape[:2]
    cam_fns = dict(cam_fns or {})
    _check_keys(maps, cam_fns, controls := tuple(controls))
    checked = {key: _checked_map(cam_map, shape, f"the map of {key!r}") for key, cam_map in maps.items()}
    jobs = {key: (cam_map, cam_fns.get(key)) for key, cam_map in checked.items()}
    jobs |= {key: _control_job(key, shape, seed) for key in controls}
    return _streaming(run, jobs, _checked_optional(probability), heartbeat)


def _control_job(key: str, shape: tuple[int, int], seed: int) -> tuple[np.ndarray, CamFn]:
    control_map = CONTROLS[key].make(shape, seed)
    return control_map, lambda masked_inputs: control_map


def _streaming(
    run: _Protocol, jobs: dict[str, tuple[np.ndarray, CamFn | None]], probability: float | None, heartbeat: bool
) -> Iterator[tuple[str, Faithfulness | None]]:
    for key, (cam_map, cam_fn) in jobs.items():
        for result in _measuring(run, key, cam_map, cam_fn, probability):
            if heartbeat or result is not None:
                yield key, result
        # Insertion ends on the untouched picture: that is Y, and the next maps need not score it again.
        probability = float(result.insertion.probabilities[-1])


def _measuring(
    run: _Protocol, key: str, cam_map: np.ndarray, cam_fn: CamFn | None, probability: float | None
) -> Iterator[Faithfulness | None]:
    """Yield None after each batch, then the Faithfulness."""
    steps, seen_through = run.steps, masked(run.inputs, cam_map)
    pictures = chain(
        [run.inputs] if probability is None else [],
        [seen_through],
        islice(_pictures(run.insertion_start, run.inputs, cam_map, run.counts), steps),
        islice(_pictures(run.inputs, run.deletion_end, cam_map, run.counts), 1, None),
    )
    batches = []
    for batch in _scores(run, pictures):
        batches.append(batch)
        yield None
    scores = np.concatenate(batches)
    y = float(scores[0]) if probability is None else probability
    o, inserted, deleted = float(scores[-2 * steps - 1]), scores[-2 * steps : -steps], scores[-steps:]
    measurement = Measurement(
        probability=y,
        masked_probability=o,
        cam_map=cam_map,
        masked_cam=None if cam_fn is None else _checked_map(cam_fn(seen_through), cam_map.shape, "the map of cam_fn"),
        insertion=Curve(run.fractions, np.append(inserted, y)),
        deletion=Curve(run.fractions, np.append(y, deleted)),
    )
    values = {name: metric.compute(measurement) for name, metric in METRICS.items()}
    yield Faithfulness(key, values, measurement.insertion, measurement.deletion, scored=scores.size)


# --- refusals ------------------------------------------------------------------------------------------------------


def _checked_inputs(inputs: np.ndarray) -> np.ndarray:
    inputs = np.asarray(inputs)
    if inputs.ndim != 3 or inputs.shape[-1] != 3 or inputs.size == 0:
        raise ValueError(f"inputs must be one picture of shape (H, W, 3), got shape {inputs.shape}.")
    if inputs.dtype.kind != "f":
        raise ValueError(f"inputs must be preprocessed floats, got {inputs.dtype}.")
    if not np.isfinite(inputs).all():
        raise ValueError("inputs must be finite, got NaN or infinity.")
    return inputs.astype(np.float32, copy=False)


def _checked_map(cam_map: np.ndarray, shape: tuple[int, ...] | None = None, what: str = "cam_map") -> np.ndarray:
    cam_map = np.asarray(cam_map, dtype=np.float32)
    if cam_map.ndim != 2 or cam_map.size == 0 or (shape is not None and cam_map.shape != shape):
        raise ValueError(f"{what} must have the shape {shape or '(H, W)'}, got {cam_map.shape}.")
    if not np.isfinite(cam_map).all():
        raise ValueError(f"{what} must be finite, got NaN or infinity.")
    if cam_map.min() < -_FLOAT_NOISE or cam_map.max() > 1 + _FLOAT_NOISE:
        raise ValueError(f"{what} must lie in [0, 1], got {cam_map.min():g} to {cam_map.max():g}.")
    return np.clip(cam_map, 0, 1)


def _checked_scores(scores: np.ndarray, count: int) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (count,):
        raise ValueError(f"score_fn must return one probability per picture, shape ({count},), got {scores.shape}.")
    # Written so that NaN fails too.
    if not ((scores >= -_FLOAT_NOISE) & (scores <= 1 + _FLOAT_NOISE)).all():
        raise ValueError(
            f"score_fn must return probabilities in [0, 1], not logits, got {scores.min():g} to {scores.max():g}."
        )
    return np.clip(scores, 0, 1)


def _checked_probability(value: float, what: str) -> float:
    value = float(value)
    if not -_FLOAT_NOISE <= value <= 1 + _FLOAT_NOISE:
        raise ValueError(f"{what} must lie in [0, 1], got {value:g}.")
    return min(1.0, max(0.0, value))


def _checked_optional(probability: float | None) -> float | None:
    return None if probability is None else _checked_probability(probability, "probability")


def _checked_count(value: int, what: str) -> int:
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{what} must be a whole number of at least 1, got {value!r}.")
    return int(value)


def _checked_baseline(key: str) -> Baseline:
    if key not in BASELINES:
        raise ValueError(f"Unknown baseline {key!r}; it must be one of {', '.join(BASELINES)}.")
    return BASELINES[key]


def _check_keys(maps: Mapping[str, np.ndarray], cam_fns: Mapping[str, CamFn], controls: tuple[str, ...]) -> None:
    if unknown := [key for key in controls if key not in CONTROLS]:
        raise ValueError(f"Unknown controls {unknown}; they must be among {', '.join(CONTROLS)}.")
    if stray := [key for key in cam_fns if key not in maps]:
        raise ValueError(f"cam_fns has no map for {stray}; its keys must be among {list(maps)}.")
    if taken := [key for key in controls if key in maps]:
        raise ValueError(f"maps must not use the keys of the controls, got {taken}.")


# --- what a region holds -------------------------------------------------------------------------------------------


def covered(inputs: np.ndarray, region: np.ndarray, baseline: str = "zero") -> np.ndarray:
    """The picture with a region replaced by a baseline: (H, W, 3) inputs, (H, W) bool -> a new (H, W, 3) float32.

    Raises ValueError for wrong shapes or an unknown baseline.
    """
    inputs = _checked_inputs(inputs)
    region = _checked_region(region, inputs.shape[:2])
    return np.where(region[..., np.newaxis], _checked_baseline(baseline).compute(inputs), inputs)


def energy_inside(cam_map: np.ndarray, region: np.ndarray) -> float:
    """Share of the map's sum that lies inside a region, in [0, 1]; 0 for a map that is zero everywhere.

    cam_map: (H, W) in [0, 1]. region: (H, W) bool. Source: energy-based pointing game, Score-CAM (Wang et al. 2020),
    section 4.3. Raises ValueError for wrong shapes or ranges.
    """
    cam_map = _checked_map(cam_map).astype(np.float64)
    inside = cam_map[_checked_region(region, cam_map.shape)].sum()
    return float(inside / cam_map.sum()) if inside > 0 else 0.0


def _checked_region(region: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    region = np.asarray(region)
    if region.shape != tuple(shape) or region.dtype != bool:
        raise ValueError(f"region is {region.shape} {region.dtype}: it must be {tuple(shape)} bool.")
    return region
