"""The errors that camkit raises on purpose. Their text is one sentence, fit to be shown to whoever asked."""

LONGEST_SHOWN = 80


class InputError(ValueError):
    """An argument or a file that cannot be used; the text says what is wrong and what is allowed."""


class WeightsError(RuntimeError):
    """Weights that cannot be had or used; the text says what is wrong and what to do."""


def shown(value: object) -> str:
    """What somebody sent, as a sentence may repeat it: one line of at most 80 characters, none of them a control's."""
    start = str(value)[: 4 * LONGEST_SHOWN]
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in start).split())
    return text if len(text) <= LONGEST_SHOWN and len(str(value)) <= len(start) else text[: LONGEST_SHOWN - 3] + "..."
