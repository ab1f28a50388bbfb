"""A study class by class: how many, how often right, mean figures, and the mean map beside that of all other pictures.

A corner or an edge that lights up in nearly all pictures of one class only can be a watermark, a border, a shortcut: a
test of permutation says where that is more than chance would have it. Differences in the middle can be the objects'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from .intervals import cell, interval, part, share
from .tables import NOTHING, Table

SIDE = 14  # values of a mean map on a side at most
COARSE = 7  # and of one that is tested: finer places are seldom alike from picture to picture
FEWEST = 3  # pictures of a class that is tested
LIT = 0.3  # of a map's maximum, from which a place counts as lit
# How much larger the share of a class's pictures that are lit at a place must be than that of all others. A mark that
# stands for a class is on nearly all of its pictures; what lights up in some of them can be a habit of the network,
# such as looking at its own padding where it sees nothing of the other classes.
LEAST = 0.75
LEVEL = 0.05  # of the test, over all classes and places
MOST_FOUND = 10  # classes that are named, those that differ most first
WORK = 2.5e8  # values added up by the test's permutations at most, unless the fewest of them are more
PERMUTATIONS = (199, 999)
MOST_ROWS = 100  # of the table in Markdown


def reduced(cam_map: np.ndarray, most: int) -> np.ndarray:
    """Return a map (h, w) with at most so many values on a side, float32: averages of what lies together."""
    height, width = (min(side, most) for side in cam_map.shape)
    if (height, width) == cam_map.shape:
        return cam_map.astype(np.float32)
    image = Image.fromarray(cam_map.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


@dataclass(frozen=True)
class Finding:
    """A class whose maps are lit at a place of the border where those of all other pictures are not: the two shares of
    pictures, and the probability that the highest of so many differences would come by chance."""

    class_index: int
    place: str
    share: float
    others: float
    p: float


def differing(maps: np.ndarray, classes: np.ndarray, seed: int = 0) -> list[Finding]:
    """Return the classes whose maps are clearly more often lit than the others' somewhere in their outermost rows and
    columns, the clearest first.

    maps: (pictures, h, w) float32. classes: (pictures,) int, of which those with FEWEST pictures are tested.

    The statistic is the highest difference of two shares of lit pictures over all classes and places, of those of at
    least LEAST, each over the factor of its standard error that the numbers of pictures give; a spread of its own for
    each place would prefer those where hardly any map has anything. Its distribution is that of maps whose classes are
    drawn anew, which corrects for the number of both (Westfall and Young 1993, Resampling-Based Multiple Testing;
    Nichols and Holmes 2002 for maps). The class that differs most is then taken out and the rest tested again, until
    nothing is clear: else the others would differ by what this one lacks. `p` is never less than that of a class before
    it, and at least 1 / (permutations + 1).
    """
    shape = maps.shape[1:]
    rows, columns = np.indices(shape)
    outer = (rows == 0) | (rows == shape[0] - 1) | (columns == 0) | (columns == shape[1] - 1)
    border = np.flatnonzero(outer)
    pixels = (maps.reshape(len(maps), -1)[:, border] >= LIT).astype(np.float32)
    random, found, highest = np.random.default_rng(seed), list[Finding](), 0.0
    while len(found) < MOST_FOUND:
        names, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
        tested = counts >= FEWEST
        if len(names) < 2 or not tested.any():
            break
        scores = _Scores(pixels, counts, tested)
        observed = scores.of(np.argsort(codes, kind="stable"))
        times = int(np.clip(WORK // pixels.size, *PERMUTATIONS))
        chance = np.array([scores.of(random.permutation(len(codes))).max() for _ in range(times)])
        which, where = np.unravel_index(observed.argmax(), observed.shape)
        p = (1 + (chance >= observed.max() * (1 - 1e-6)).sum()) / (1 + times)
        highest = max(highest, float(p))
        if highest > LEVEL or not observed.max() > 0:
            break
        own = codes == which
        shares = (float(pixels[own, where].mean()), float(pixels[~own, where].mean()))
        found.append(Finding(int(names[which]), place_of(int(border[where]), shape), *shares, highest))
        pixels, classes = pixels[~own], classes[~own]
    return found


class _Scores:
    """The test's scores of each class and place, for any order of the pictures."""

    def __init__(self, pixels: np.ndarray, counts: np.ndarray, tested: np.ndarray) -> None:
        self.pixels, self.tested, self.rest = pixels, tested, len(pixels) - counts
        self.ends, self.counts = np.concatenate([[0], np.cumsum(counts)]), counts
        self.ones, self.total = np.ones(len(pixels), np.float32), pixels.sum(axis=0, dtype=np.float64)
        self.error = np.sqrt(1 / counts + 1 / self.rest)[:, None]

    def of(self, order: np.ndarray) -> np.ndarray:
        """Return (tested classes, places) where the pictures in this order are of the first class, the second, ..."""
        from scipy.sparse import csr_array  # here: the page would wait for it

        sums = (csr_array((self.ones, order, self.ends)) @ self.pixels).astype(np.float64)  # exact: of 0 and 1
        differences = sums / self.counts[:, None] - (self.total - sums) / self.rest[:, None]
        return np.where(self.tested[:, None] & (differences >= LEAST), differences / self.error, 0)


def place_of(index: int, shape: Sequence[int]) -> str:
    """Return a place of a map in words, by thirds of its height and width."""
    row, column = divmod(index, shape[1])
    down, across = (min(2, int(3 * (at + 0.5) / side)) for at, side in ((row, shape[0]), (column, shape[1])))
    if down == across == 1:
        return "middle"
    if 1 in (down, across):
        return ("upper", "", "lower")[down] + ("left", "", "right")[across] + " edge"
    return f"{('upper', '', 'lower')[down]} {('left', '', 'right')[across]} corner"


@dataclass(frozen=True)
class Group:
    """One class of a study: its pictures by number, and cells in words. `gains` and `inside` are by method."""

    class_index: int
    pictures: np.ndarray
    accuracy: str
    answer: str
    gains: dict[str, str]
    inside: dict[str, str]


@dataclass
class Classes:
    """The pictures of a study by class: the true one where it is known, else the classifier's answer.

    of: (pictures,) int, the class. right: (pictures,) float64, 1 and 0, NaN where the true class is not known. answers:
    (pictures,) the probability or value of the class explained. maps: by method (pictures, h, w) uint8, small. gains
    and inside: by method (pictures,) float64, insertion less deletion and energy inside, NaN where not measured.
    """

    names: Mapping[int, str]
    of: np.ndarray
    right: np.ndarray
    answers: np.ndarray
    answer_format: str
    maps: Mapping[str, np.ndarray]
    gains: Mapping[str, np.ndarray]
    inside: Mapping[str, np.ndarray]

    @cached_property
    def groups(self) -> list[Group]:
        """The classes with most pictures answered wrongly first, then with most pictures."""
        order = np.argsort(self.of, kind="stable")
        starts = np.unique(self.of[order], return_index=True)[1]
        groups = [self._group(pictures) for pictures in np.split(order, starts[1:])] if len(order) else []
        return sorted(groups, key=lambda group: (-(self.right[group.pictures] == 0).sum(), -len(group.pictures)))

    def _group(self, pictures: np.ndarray) -> Group:
        answers = self.answers[pictures]
        return Group(
            int(self.of[pictures[0]]),
            pictures,
            cell(share(_known(self.right[pictures])), "{:.0%}"),
            cell((part if "%" in self.answer_format else interval)(_known(answers)), self.answer_format),
            {key: cell(interval(_known(each[pictures])), "{:+.3f}") for key, each in self.gains.items()},
            {key: cell(part(_known(each[pictures])), "{:.0%}") for key, each in self.inside.items()},
        )

    def means(self, method: str) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield for each of `groups` its mean map and that of all other pictures, float64 in [0, 1]; None without
        others."""
        maps = self.maps[method]
        total = maps.sum(axis=0, dtype=np.float64)
        for group in self.groups:
            own, rest = maps[group.pictures].sum(axis=0, dtype=np.float64), len(maps) - len(group.pictures)
            yield own / len(group.pictures) / 255, (total - own) / rest / 255 if rest else None

    @cached_property
    def findings(self) -> dict[str, list[Finding]]:
        """The classes whose maps are lit where the others' are not, by method."""
        return {
            key: differing(np.array([reduced(each, COARSE) for each in maps]) / 255, self.of) if len(maps) else []
            for key, maps in self.maps.items()
        }

    def sentences(self, method: str, method_name: str) -> list[str]:
        """Return a method's findings in words, or the sentence that there are none."""
        count = sum(len(group.pictures) >= FEWEST for group in self.groups)
        if count == 0 or len(self.groups) < 2:
            return [f"No class has {FEWEST} pictures beside others: mean maps are not compared."]
        test = f"a test of permutation by {method_name}, corrected for {count} classes and every place of its border"
        if not (found := self.findings[method]):
            return [f"No class's maps light up at an edge in nearly all pictures where the others' do not ({test})."]
        words = [
            f"{self.names[each.class_index]}: at the {each.place} the map is at least {LIT:.0%} of its maximum in "
            f"{each.share:.0%} of its pictures and in {each.others:.0%} of all others (p = {each.p:.3f})."
            for each in found
        ]
        first = "the maps of one class light" if len(words) == 1 else f"the maps of {len(words)} classes light"
        most = f" No more than {MOST_FOUND} are looked for." if len(words) == MOST_FOUND else ""
        sentence = f"At an edge, {first} up where the others' do not: a watermark, a border, a shortcut? ({test})"
        return [f"{sentence[0].upper()}{sentence[1:]}.{most}", *words]


def class_table(classes: Classes, method: str, method_name: str) -> Table:
    """Return a row a class: how many, how often right, mean figures."""
    rows = tuple(
        (
            classes.names[group.class_index],
            str(len(group.pictures)),
            group.accuracy,
            group.answer,
            group.gains.get(method, NOTHING),
            group.inside.get(method, NOTHING),
        )
        for group in classes.groups[:MOST_ROWS]
    )
    more = len(classes.groups) - len(rows)
    return Table(
        "Class by class",
        ("Class", "Pictures", "Accuracy", "Answer", "Insertion - deletion", "Energy inside"),
        rows,
        f"Means by {method_name} and 95 % intervals: Wilson's for the accuracy, Student's t for the others, for "
        "percentages on the scale of the logit. A picture is of its true class where that is known, else of the class "
        "that the classifier answered." + (f" {more} more classes are in report.html." if more else ""),
        " ".join(classes.sentences(method, method_name)),
    )


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]
