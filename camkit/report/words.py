"""Sentences made from the figures. Owns no figure and no table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..evidence.metrics import CONTROLS
from ..evidence.observations import Measurement
from .intervals import Interval, interval, number
from .results import Results, name_of

ALIKE = 0.005  # of insertion less deletion: below, two maps count as equal; curves of 28 steps tell no more
UNCHANGED = 0.9  # of a rank correlation: from here on a map is nearly the same
BY_CHANCE = 0.25  # of a rank correlation: 95 % of pairs of unrelated maps (random blobs) stay below
SMALL = 0.05  # of the class's probability: below, all figures are small


def listed(names: Iterable[str]) -> str:
    """Return "A", "A and B" or "A, B and C"; there must be at least one name."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def verdict(measurements: Mapping[str, Measurement], probability: float | None) -> str:
    """Say of one picture whose map has the highest insertion less deletion, and whose is no better than a control."""
    known = {key: gain for key, each in measurements.items() if (gain := each.insertion_minus_deletion) is not None}
    differences = {key: each for key, each in known.items() if key not in CONTROLS}
    controls = {key: each for key, each in known.items() if key in CONTROLS}
    if not differences:
        return ""
    highest = max(differences.values())
    best = [key for key in differences if differences[key] >= highest - ALIKE]
    figure = f"insertion less deletion {number('{:+.3f}', highest)}"
    rival = max(controls, key=controls.__getitem__) if controls else ""
    if rival and highest <= controls[rival]:
        comes = "comes" if len(best) == 1 else "come"
        what = CONTROLS[rival].phrase
        first = f"On this picture no map is better than {what}; {_maps(best)} {comes} closest ({figure})."
    elif len(differences) > 1 and len(best) == len(differences):
        first = f"On this picture the maps are worth the same ({figure})."
    else:
        verb = "is" if len(best) == 1 else "are"
        first = f"On this picture {_maps(best)} {verb} worth most ({figure})"
        lost = [key for key in differences if rival and differences[key] <= controls[rival]]
        if lost:
            first += f"; {listed(name_of(key) for key in lost)} {'is' if len(lost) == 1 else 'are'} no better than "
            first += f"{CONTROLS[rival].phrase}."
        else:
            first += "; every map is better than the controls." if rival and len(differences) > 1 else "."
    if probability is not None and probability < SMALL:
        first += f" The class has a probability of {probability:.1%} only, so all figures are small."
    return first


def _maps(keys: list[str]) -> str:
    names = [name_of(key) for key in keys]
    return f"{names[0]}'s map" if len(names) == 1 else f"the maps of {listed(names)}"


def set_verdict(results: Results) -> str:
    """Say of a set whose maps are best on average, how clearly, and which are no better than the controls."""
    summary, name = results.summary, "insertion_minus_deletion"
    differences = {key: row.get(name) for key, row in summary.items() if key not in CONTROLS}
    means = {key: each.mean for key, each in differences.items() if each is not None}
    if not means:
        return ""
    best = max(means, key=means.__getitem__)
    figure = f"insertion less deletion {number('{:+.3f}', means[best])}"
    if results.pictures == 1:
        return f"Of one picture: {name_of(best)}'s map is worth most ({figure})."
    words = f"Over {results.pictures} pictures {name_of(best)}'s maps are worth most on average ({figure})"
    clear: dict[bool, list[str]] = {True: [], False: []}
    for pair, row in results.differences.items():
        if best in pair and (difference := row[name]) is not None:
            clear[difference.clear].append(name_of(pair[pair[0] == best]))
    said = [
        f"{'' if key else 'not '}clearly more than those of {listed(names)}" for key, names in clear.items() if names
    ]
    words += "".join(f", {each}" for each in said) + "."
    over = {key: interval(results.over_control(key)) for key in means}
    unclear = [name_of(key) for key, each in over.items() if each is None or not each.clear or each.mean < 0]
    if unclear and results.best_control:
        verb = "is" if len(unclear) == 1 else "are"
        words += (
            f" {listed(unclear)} {verb} not clearly better on average than {CONTROLS[results.best_control].phrase}."
        )
    lost = {key: results.figures("metrics", key, "beats_controls") for key in means}
    often = [f"{name_of(key)}'s on {len(each) - sum(each):.0f}" for key, each in lost.items() if sum(each) < len(each)]
    if often:
        words += f" No better than a control are {listed(often)} of {results.pictures} pictures."
    return words


def sanity_verdict(final: Mapping[str, Interval | None]) -> str:
    """Say what the rank correlations with the original maps, by key, mean once every layer is randomised. Over several
    pictures a method is judged only where its whole interval lies on one side."""
    maps = {key: each for key, each in final.items() if key not in CONTROLS and each is not None}
    if not maps:
        return ""
    low = {key: each.mean if each.low is None else each.low for key, each in maps.items()}
    high = {key: each.mean if each.high is None else each.high for key, each in maps.items()}
    depends = [key for key in maps if high[key] <= BY_CHANCE]
    same = [key for key in maps if low[key] >= UNCHANGED]
    between = [key for key in maps if low[key] > BY_CHANCE and key not in same]
    unclear = [key for key in maps if key not in (*depends, *same, *between)]
    said = []
    if depends:
        verb = "depends" if len(depends) == 1 else "depend"
        said.append(
            f"{_maps(depends)} {verb} on what the network learned (unrelated maps reach {BY_CHANCE:.2f} as well)"
        )
    if between:
        said.append(f"part of {_maps(between)} is there without anything learned")
    if same:
        verb = "hardly depends" if len(same) == 1 else "hardly depend"
        said.append(f"{_maps(same)} {verb} on what the network learned, and so can come from the picture alone")
    if unclear:
        said.append(f"for {_maps(unclear)} these pictures do not tell (unrelated maps reach {BY_CHANCE:.2f})")
    sentence = "; ".join(said)
    correlate = "map correlates" if len(maps) == 1 else "maps correlate"
    figures = listed(f"{name_of(key)}'s {number('{:+.2f}', each.mean)}" for key, each in maps.items())
    return (
        f"After all layers were randomised, the {correlate} with the original: {figures}. "
        f"{sentence[0].upper()}{sentence[1:]}."
    )
