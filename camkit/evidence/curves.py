"""Measuring maps by what happens to one class when pixels change: the door to every metric, where all is checked.

`score_fn`: (N, H, W, 3) float32 -> (N,) probabilities of ONE class, the same class wherever a number is compared.
Nothing handed in is modified, and at most `batch_size` pictures are alive at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from numbers import Integral

import numpy as np

from .metrics import BASELINES, CONTROLS, FLOAT_NOISE, METRICS, masked
from .observations import Curve, Maps, Measurement, Observations
from .road import REMOVED, imputed

ScoreFn = Callable[[np.ndarray], np.ndarray]
CamFn = Callable[[np.ndarray], np.ndarray]

# Any fixed number does; it differs from the controls' default seed so that the two shuffles are unrelated.
_TIE_SEED = 20260


def measure_stream(
    score_fn: ScoreFn | None,
    inputs: np.ndarray,
    maps: Mapping[str, np.ndarray],
    cam_fns: Mapping[str, CamFn] | None = None,
    probability: float | None = None,
    *,
    steps: int = 28,
    insertion_baseline: str = "blur",
    deletion_baseline: str = "zero",
    batch_size: int = 32,
    controls: Iterable[str] | None = None,
    seed: int = 0,
) -> Iterator[tuple[str, Measurement | None]]:
    """Measure several maps of one picture, then the controls: METRICS and the two curves of each.

    Yield (key, None) after every call of `score_fn`, before a `cam_fn`, so that closing the iterator stops the work
    between two batches, and then (key, Measurement).

    score_fn: None for a model that gives no probability: only the metrics of the map alone are measured.
    inputs: (H, W, 3) float, preprocessed. maps: key -> (H, W) in [0, 1].
    cam_fns: key -> a function from (H, W, 3) masked inputs to (H, W) in [0, 1], the same method and class on the masked
    picture, for coherency; a key without one gets neither coherency nor adcc.
    probability: Y if it is already known, of the very class that `score_fn` scores; else it is scored, once for all.
    steps: points of a curve after the first; it need not divide H * W, each step's pixel count is rounded. Insertion
    starts from its baseline and restores the most important pixels first, deletion replaces them by its baseline (RISE,
    Petsiuk et al. 2018); baselines are keys of BASELINES. For ROAD the most important pixels are imputed, at
    each share of REMOVED. 2 * steps + 1 + len(REMOVED) pictures go through `score_fn` for each map.
    controls: keys of CONTROLS, None for all; seed: for the random one. A control's map of the masked picture is that
    same map again, so its coherency is 1 by construction, and its ADCC says only what complexity and drop say.

    Raise ValueError for bad arguments, at the call and not at the first result, and later if `score_fn` or a `cam_fn`
    returns something else than described. An exception raised by `score_fn` passes through.
    """
    inputs = _checked_inputs(inputs)
    shape = inputs.shape[:2]
    for baseline in (insertion_baseline, deletion_baseline):
        if baseline not in BASELINES:
            raise ValueError(f"Unknown baseline {baseline!r}; it must be one of {', '.join(BASELINES)}.")
    counts = np.rint(np.linspace(0, shape[0] * shape[1], _checked_count(steps, "steps") + 1)).astype(int)
    batch_size = _checked_count(batch_size, "batch_size")
    if probability is not None and not -FLOAT_NOISE <= probability <= 1 + FLOAT_NOISE:
        raise ValueError(f"probability must lie in [0, 1], got {probability:g}.")
    cam_fns, controls = dict(cam_fns or {}), tuple(CONTROLS if controls is None else controls)
    _check_keys(maps, cam_fns, controls)
    jobs: list[tuple[str, np.ndarray, CamFn | None]] = [
        (key, _checked_map(cam_map, shape, f"the map of {key!r}"), cam_fns.get(key)) for key, cam_map in maps.items()
    ]
    for key in controls:
        control_map = CONTROLS[key].make(shape, seed)
        jobs.append((key, control_map, partial(_always, control_map)))
    if score_fn is None:
        return _measure_maps(inputs, jobs)
    starts = (BASELINES[insertion_baseline].compute(inputs), BASELINES[deletion_baseline].compute(inputs))
    return _measure(_Run(score_fn, inputs, *starts, counts, batch_size), jobs, probability)


def _measure_maps(inputs: np.ndarray, jobs: list) -> Iterator[tuple[str, Measurement | None]]:
    for key, cam_map, cam_fn in jobs:
        yield key, None
        seen = Maps(cam_map, _masked_cam(cam_fn, cam_map, masked(inputs, cam_map)))
        yield key, Measurement(key, {name: each.compute(seen) for name, each in METRICS.items() if each.of_the_map})


def _masked_cam(cam_fn: CamFn | None, cam_map: np.ndarray, seen_through: np.ndarray) -> np.ndarray | None:
    return cam_fn and _checked_map(cam_fn(seen_through), cam_map.shape, "the map of cam_fn")


def _check_keys(maps: Mapping, cam_fns: Mapping, controls: Iterable[str]) -> None:
    if unknown := [key for key in controls if key not in CONTROLS]:
        raise ValueError(f"Unknown controls {unknown}; they must be among {', '.join(CONTROLS)}.")
    if stray := [key for key in cam_fns if key not in maps]:
        raise ValueError(f"cam_fns has no map for {stray}; its keys must be among {list(maps)}.")
    if taken := [key for key in controls if key in maps]:
        raise ValueError(f"maps must not use the keys of the controls, got {taken}.")


def _always(cam_map: np.ndarray, _: np.ndarray) -> np.ndarray:
    return cam_map


@dataclass(frozen=True, eq=False)
class _Run:
    """Checked arguments that all maps of one picture share, with the baselines computed once. `counts`: (steps + 1,)
    pixels changed at each point of a curve; exactly 0 first and all of them last."""

    score_fn: ScoreFn
    inputs: np.ndarray
    insertion_start: np.ndarray
    deletion_end: np.ndarray
    counts: np.ndarray
    batch_size: int


def _measure(run: _Run, jobs: list, probability: float | None) -> Iterator[tuple[str, Measurement | None]]:
    steps, fractions = len(run.counts) - 1, run.counts / run.counts[-1]
    for key, cam_map, cam_fn in jobs:
        seen_through, order = masked(run.inputs, cam_map), _ranked(cam_map)
        pictures = chain(
            [run.inputs] if probability is None else [],
            [seen_through],
            _imputed(run.inputs, order),
            # The picture itself is where one curve ends and the other starts; it is scored once.
            islice(_pictures(run.insertion_start, run.inputs, order, run.counts), steps),
            islice(_pictures(run.inputs, run.deletion_end, order, run.counts), 1, None),
        )
        batches = []
        for batch in _scores(run, pictures):
            batches.append(batch)
            yield key, None
        scores = np.concatenate(batches)
        if probability is None:
            probability = float(scores[0])
        inserted, deleted = scores[-2 * steps : -steps], scores[-steps:]
        behind_the_mask, *without = scores[-2 * steps - 1 - len(REMOVED) : -2 * steps]
        observations = Observations(
            probability=probability,
            masked_probability=float(behind_the_mask),
            cam_map=cam_map,
            masked_cam=_masked_cam(cam_fn, cam_map, seen_through),
            insertion=Curve(fractions, np.append(inserted, probability)),
            deletion=Curve(fractions, np.append(probability, deleted)),
            imputed=np.array(without),
        )
        values = {name: metric.compute(observations) for name, metric in METRICS.items()}
        yield key, Measurement(key, values, observations.insertion, observations.deletion)


def _pictures(start: np.ndarray, end: np.ndarray, order: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) pictures from `start` to `end`, pixels changed in `order`; all are one buffer, rewritten each
    time."""
    channels = start.shape[-1]
    pixels, target = start.reshape(-1, channels).copy(), end.reshape(-1, channels)
    for done, upto in zip([0, *counts], counts):
        changed = order[done:upto]
        pixels[changed] = target[changed]
        yield pixels.reshape(start.shape)


def _imputed(inputs: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the (H, W, 3) picture without each share of REMOVED of its pixels, the first ones in their `order`."""
    for share in REMOVED:
        removed = np.zeros(order.size, bool)
        removed[order[: round(share * order.size)]] = True
        yield imputed(inputs, removed.reshape(inputs.shape[:2]))


def _ranked(cam_map: np.ndarray) -> np.ndarray:
    """Return flat indices of the pixels, most important first, equal ones in a fixed random order: a stable sort would
    take the zeros of a map row by row from the top left, which the map does not say."""
    shuffled = np.random.default_rng(_TIE_SEED).permutation(cam_map.size)
    return np.lexsort((shuffled, -cam_map.ravel()))


def _scores(run: _Run, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the (n,) float64 scores of each batch."""
    pictures = iter(pictures)
    # Copies, because the pictures of a curve share one buffer, and because score_fn may write into its batch.
    while batch := [picture.copy() for picture in islice(pictures, run.batch_size)]:
        scores = np.asarray(run.score_fn(np.stack(batch)), dtype=np.float64)
        if scores.shape != (len(batch),):
            raise ValueError(
                f"score_fn must return one probability per picture, shape ({len(batch)},), got {scores.shape}."
            )
        # Written so that NaN fails too.
        if not ((scores >= -FLOAT_NOISE) & (scores <= 1 + FLOAT_NOISE)).all():
            ends = f"{scores.min():g} to {scores.max():g}"
            raise ValueError(f"score_fn must return probabilities in [0, 1], not logits, got {ends}.")
        yield np.clip(scores, 0, 1)


def _checked_inputs(inputs: np.ndarray) -> np.ndarray:
    inputs = np.asarray(inputs)
    if inputs.ndim != 3 or inputs.shape[-1] not in (1, 3) or inputs.size == 0:
        raise ValueError(f"inputs must be one picture of shape (H, W, 3) or (H, W, 1), got shape {inputs.shape}.")
    if inputs.dtype.kind != "f":
        raise ValueError(f"inputs must be preprocessed floats, got {inputs.dtype}.")
    if not np.isfinite(inputs).all():
        raise ValueError("inputs must be finite, got NaN or infinity.")
    return inputs.astype(np.float32, copy=False)


def _checked_map(cam_map: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    cam_map = np.asarray(cam_map, dtype=np.float32)
    if cam_map.shape != shape:
        raise ValueError(f"{what} must have the shape {shape}, got {cam_map.shape}.")
    if not np.isfinite(cam_map).all():
        raise ValueError(f"{what} must be finite, got NaN or infinity.")
    if cam_map.min() < -FLOAT_NOISE or cam_map.max() > 1 + FLOAT_NOISE:
        raise ValueError(f"{what} must lie in [0, 1], got {cam_map.min():g} to {cam_map.max():g}.")
    return np.clip(cam_map, 0, 1)


def _checked_count(value: int, what: str) -> int:
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{what} must be a whole number of at least 1, got {value!r}.")
    return int(value)
