"""A visitor's settings (`Choices`), and the page's address that carries them, so that a link shows what one sees.

An address may hold anything: every value is looked up in what is there, none of its text is ever shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...errors import InputError
from ...explanation import Explanation
from ...labels import imagenet
from ...methods import check_methods
from ...models.registry import MODELS
from ..server.readiness import classifier, default_model, is_here
from .examples import EXAMPLES, OPENING, Example

LONGEST = 200  # characters of a value that are looked at


@dataclass(frozen=True)
class Choices:
    """A visitor's settings, in the order of the settings' components."""

    methods: list[str]
    model: str
    layer: str
    max_n: int
    full: bool


@dataclass(frozen=True)
class Visit:
    """The settings that the page opens on; `problem`: a sentence on what the address names and is not here, or ""."""

    example: Example
    class_index: int | None
    choices: Choices
    problem: str = ""


def query_of(snapshot: Explanation, choices: Choices, example: str) -> dict[str, str]:
    """Return the address's query, less what is as on a fresh page. `example`: the picture's key, "" for a visitor's
    own: the browser leaves its class out too, which would be asked of another picture."""
    spec = MODELS[snapshot.model]
    said = {"example": example} if example else {}
    said |= {"class": snapshot.class_name, "methods": ",".join(choices.methods), "max_n": str(snapshot.max_n)}
    if snapshot.target_layer != spec.target_layers[-1]:
        said["layer"] = snapshot.target_layer
    if snapshot.model != default_model():
        said["model"] = snapshot.model
    if not choices.full:
        said["full"] = "no"
    return said


def read_query(query: Mapping[str, str], fresh: Choices) -> Visit:
    """Return what an address asks of a page whose settings are `fresh`; values that fit nothing here are left out."""
    asked = {key: value[:LONGEST].strip() for key, value in query.items() if isinstance(value, str)}
    wrong: list[str] = []

    def known(name: str, look_up, otherwise):
        """Return what `look_up` makes of the value; `otherwise` when there is none or it fits nothing."""
        if not asked.get(name):
            return otherwise
        try:
            return look_up(asked[name])
        except (InputError, ValueError, KeyError):
            wrong.append({"max_n": "number of channels", "full": "length of Score-CAM"}.get(name, name))
            return otherwise

    example = known("example", EXAMPLES.__getitem__, OPENING)
    model = known("model", _ready_model, fresh.model)
    labels = MODELS[model].labels()
    otherwise = example.class_index if labels is imagenet() else None
    class_index = known("class", lambda text: labels.find_class(text).index, otherwise)
    layers = list(MODELS[model].target_layers)
    otherwise = fresh.layer if fresh.layer in layers else layers[-1]
    layer = known("layer", lambda text: layers[layers.index(text)], otherwise)
    choices = replace(
        fresh,
        model=model,
        layer=layer,
        methods=known("methods", lambda text: list(check_methods(text.split(","))), fresh.methods),
        max_n=known("max_n", lambda text: _between(text, classifier(model).channels(layer)), fresh.max_n),
        full=known("full", {"yes": True, "no": False}.__getitem__, fresh.full),
    )
    problem = ""
    if wrong:
        named = " and ".join(filter(None, (", ".join(wrong[:-1]), wrong[-1])))
        problem = f"The link's {named} cannot be used here: the page's own stands in its place."
    return Visit(example, class_index, choices, problem)


def _ready_model(text: str) -> str:
    if not is_here(text):
        raise ValueError("its weights are not here")
    return text


def _between(text: str, most: int) -> int:
    number = int(text)
    if not 1 <= number <= most:
        raise ValueError(f"must be from 1 to {most}")
    return number
