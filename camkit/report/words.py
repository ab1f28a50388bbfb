"""Sentences made from the figures. Owns no figure and no table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from ..evidence.metrics import CONTROLS, correlation
from ..evidence.observations import Measurement
from ..evidence.sweep import SweepPoint
from ..explanation import DEFAULT_MAX_N, Explanation
from ..passes.outputs import CLASSES, OUTPUTS
from ..units import seconds_in_words
from .intervals import Interval, interval, number
from .results import Results, name_of

ALIKE = 0.005  # of insertion less deletion: below, two maps count as equal; curves of 28 steps tell no more
UNCHANGED = 0.9  # of a rank correlation: from here on a map is nearly the same
BY_CHANCE = 0.25  # of a rank correlation: 95 % of pairs of unrelated maps (random blobs) stay below
SURE, FAIRLY_SURE, NOT_SURE = 0.9, 0.5, 0.15  # of the top class's probability
AHEAD = 0.3  # of probability: the top class's lead over the next from which the model counts as fairly sure
STRONG = 0.5  # of a map's highest value: where it is at least that, it "lies"
MOST = 0.5  # of the picture: a map that lies on so much has no place
OFF_CENTRE = 0.1  # of the picture's side: from here on a map's centre is at one side
NEARLY = 0.95  # of a correlation: from here on Faster Score-CAM's map is nearly the full one
SIDE = 112  # pixels, of maps of two models that are compared
SMALL = 0.05  # of the class's probability: below, all figures are small


def listed(names: Iterable[str]) -> str:
    """Return "A", "A and B" or "A, B and C"; there must be at least one name."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


# --- of one picture ------------------------------------------------------------------------------------------------


def result_words(explanation: Explanation) -> str:
    """Say how sure the model is, and where the complete maps lie and on how much of the picture."""
    return " ".join(filter(None, (sureness(explanation), where(explanation))))


def sureness(explanation: Explanation) -> str:
    """Say how sure the model is of its top class, or whether it says yes to a label; "" of a value."""
    outputs, top = OUTPUTS[explanation.outputs], explanation.predictions[0]
    if not outputs.are_probabilities:
        return ""
    if outputs is not CLASSES:
        return f"The network says {'yes' if explanation.answer >= 0.5 else 'no'} to it."
    answer, following = top.answer, explanation.predictions[1:2]
    lead = answer - sum(each.answer for each in following)
    if answer < NOT_SURE:
        words = "The network is not sure"
    elif answer >= FAIRLY_SURE and lead >= AHEAD:
        words = "The network is sure" if answer >= SURE else "The network is fairly sure"
    else:
        words = "The network has doubts"
    if explanation.class_index != top.class_index:
        return f"{words}: its own first guess is {top.name}, {outputs.in_words(answer)}."
    if answer < FAIRLY_SURE and following:
        return f"{words}: next comes {following[0].name}, {outputs.in_words(following[0].answer)}."
    return f"{words}."


def where(explanation: Explanation) -> str:
    """Say where the complete maps lie, and on how much of what the model sees of the picture: those of one
    place together."""
    found: dict[str, dict[str, float]] = {}
    for key, cam in explanation.cams.items():
        if cam.complete:
            seen = explanation.placement.cut(cam.map)
            found.setdefault(place_of(seen), {})[key] = lies_on(seen)
    said: list[str] = []
    for place, shares in found.items():
        together = len(shares) == sum(cam.complete for cam in explanation.cams.values()) > 1
        names = listed(name_of(key) for key in shares)
        subject = _maps([*shares]) if not said else f"{'that' if len(shares) == 1 else 'those'} of {names}"
        if together:
            subject = "both maps" if len(shares) == 2 else "all maps"
            subject = subject if len(shares) == len(explanation.methods) else "the complete maps"
        low, high = (f"{100 * limit(shares.values()):.0f}" for limit in (min, max))
        area = f"{high}%" if low == high else f"{low} to {high}%"
        area += "" if said or place.endswith("picture") else " of the picture"
        verb = "" if said else " lies" if len(shares) == 1 else " lie"
        empty = f"{subject} {'is' if len(shares) == 1 else 'are'} zero everywhere"
        said.append(f"{subject}{verb} {place} ({area})" if place else empty)
    return f"{_capital(', '.join(said))}." if said else ""


def lies_on(cam_map: np.ndarray) -> float:
    """Return the share of a map (h, w) on which it is at least STRONG times its highest value, in [0, 1]."""
    highest = cam_map.max()
    return float((cam_map >= STRONG * highest).mean()) if highest > 0 else 0.0


def place_of(cam_map: np.ndarray) -> str:
    """Return where a map (h, w) lies, such as "in the upper left", by the centre of where it is strong; "" for one that
    is zero everywhere."""
    share = lies_on(cam_map)
    if not share or share >= MOST:
        return "over most of the picture" if share else ""
    rows, columns = np.nonzero(cam_map >= STRONG * cam_map.max())
    off = [(line.mean() + 0.5) / side - 0.5 for line, side in zip((rows, columns), cam_map.shape, strict=True)]
    down, across = (0 if abs(each) < OFF_CENTRE else 1 if each > 0 else -1 for each in off)
    side = {-1: "left", 0: "", 1: "right"}[across]
    if not down:
        return f"on the {side}" if side else "in the middle"
    if not side:
        return "at the bottom" if down > 0 else "at the top"
    return f"in the {'lower' if down > 0 else 'upper'} {side}"


def verdict(measurements: Mapping[str, Measurement], probability: float | None) -> str:
    """Say of one picture whose map has the highest insertion less deletion, and whose is no better than a control."""
    known = {key: gain for key, each in measurements.items() if (gain := each.insertion_minus_deletion) is not None}
    differences = {key: each for key, each in known.items() if key not in CONTROLS}
    controls = {key: each for key, each in known.items() if key in CONTROLS}
    if not differences:
        return ""
    highest = max(differences.values())
    best = [key for key in differences if differences[key] >= highest - ALIKE]
    rival = max(controls, key=controls.__getitem__) if controls else ""
    if rival and highest <= controls[rival]:
        comes, what = "comes" if len(best) == 1 else "come", CONTROLS[rival].phrase
        words = (
            f"On this picture no map tells better than {what} what the network needs; {_maps(best)} {comes} closest."
        )
    elif len(differences) > 1 and len(best) == len(differences):
        words = "On this picture all maps tell equally well what the network needs."
    else:
        lost = [key for key in differences if rival and differences[key] <= controls[rival]]
        most = f"tell{'s' if len(best) == 1 else ''} best" if len(differences) > 1 else "tells"
        words = f"On this picture {_maps(best)} {most} what the network needs"
        if lost:
            words += f"; {_maps(lost)} {'is' if len(lost) == 1 else 'are'} no better than {CONTROLS[rival].phrase}."
        elif rival:
            every = "every map" if len(differences) > 1 else "it"
            words += f"; {every} is better than maps that know nothing of the picture."
        else:
            words += "."
    if probability is not None and probability < SMALL:
        words += f" The class has a probability of {probability:.1%} only, so all figures are small."
    return words


def contrast_words(method: str, names: tuple[str, str], maps: tuple[np.ndarray, np.ndarray]) -> str:
    """Say how the maps of two classes by one method compare; `maps`: two (h, w) in [0, 1] on one scale."""
    places = [place_of(each) for each in maps]
    empty = [name for name, place in zip(names, places, strict=True) if not place]
    if empty:
        return f"By {name_of(method)} nothing in the picture speaks for {listed(empty)}."
    if correlation(*maps) >= UNCHANGED:
        return f"By {name_of(method)} the same places speak for {names[0]} and for {names[1]}."
    if places[0] == places[1]:
        return f"Both maps lie {places[0]}, but differ there: the third shows what speaks for one of the two."
    return f"What speaks for {names[0]} lies {places[0]}; for {names[1]}, {places[1]}."


def models_words(names: tuple[str, str], explanations: tuple[Explanation, Explanation]) -> str:
    """Say what differs between two models on one picture: their first guesses, and where the complete maps lie that
    both have."""
    first, second = explanations
    tops = [each.predictions[0] for each in explanations]
    answers = [OUTPUTS[each.outputs].in_words(top.answer) for each, top in zip(explanations, tops, strict=True)]
    if tops[0].name == tops[1].name:
        words = f"Both say {tops[0].name} first, {names[0]} {answers[0]} and {names[1]} {answers[1]}"
    else:
        words = " and ".join(
            f"{each[0]} says {each[1].name}, {each[2]}" for each in zip(names, tops, answers, strict=True)
        )
    alike: list[str] = []
    apart: dict[tuple[str, str], list[str]] = {}
    for key in [key for key in first.maps if key in second.maps]:
        maps = [_over_the_picture(each, key) for each in explanations]
        if correlation(*maps) >= UNCHANGED:
            alike.append(key)
        else:
            places = [place_of(each) or "nowhere" for each in maps]
            apart.setdefault((places[0], places[1]), []).append(key)
    said = [f"{_maps(alike)} {'lies' if len(alike) == 1 else 'lie'} in the same place for both"] if alike else []
    for (one, other), keys in apart.items():
        lies, differs = ("lies", "differs") if len(keys) == 1 else ("lie", "differ")
        where_each = f"{one} for {names[0]}, {other} for {names[1]}"
        said.append(f"{_maps(keys)} {lies} {f'{one} for both, but {differs} there' if one == other else where_each}")
    return f"{'; '.join([words, *said])}."


def _over_the_picture(explanation: Explanation, key: str) -> np.ndarray:
    """Return a map as it lies over the whole picture, SIDE x SIDE, zero where the model sees nothing of it."""
    size = (SIDE, SIDE)
    laid = np.zeros(size, np.float32)
    laid[explanation.placement.place(size)] = explanation.placement.fit(explanation.cams[key].map, size)
    return laid


def sweep_words(points: Collection[SweepPoint]) -> str:
    """Say of a complete sweep how many channels are enough, and how like the full Score-CAM the default's map is."""
    *shorter, full = sorted(points, key=lambda point: point.max_n)
    enough = full
    for point in reversed(shorter):
        if point.correlation < NEARLY:
            break
        enough = point
    words = f"Only all {full.max_n} channels give the full Score-CAM's map."
    if enough is not full:
        words = (
            f"With {enough.max_n} of {full.max_n} channels Faster Score-CAM's map is nearly the full Score-CAM's, in "
            f"{seconds_in_words(enough.seconds)} instead of {seconds_in_words(full.seconds)} (correlation "
            f"{enough.correlation:.2f})."
        )
    default = next((point for point in shorter if point.max_n == DEFAULT_MAX_N and point is not enough), None)
    return words + (f" With {DEFAULT_MAX_N}, the default, it is {default.correlation:.2f}." if default else "")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _maps(keys: list[str]) -> str:
    names = [name_of(key) for key in keys]
    return f"{names[0]}'s map" if len(names) == 1 else f"the maps of {listed(names)}"


# --- of a set of pictures ------------------------------------------------------------------------------------------


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
        said.append(f"{_maps(depends)} {verb} on what the network learned")
    if between:
        said.append(f"part of {_maps(between)} is there without anything learned")
    if same:
        verb = "hardly depends" if len(same) == 1 else "hardly depend"
        said.append(f"{_maps(same)} {verb} on what the network learned, and so can come from the picture alone")
    if unclear:
        said.append(f"for {_maps(unclear)} these pictures do not tell")
    return f"{_capital('; '.join(said))}."
