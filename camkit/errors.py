"""The errors that camkit raises on purpose. Their text is one sentence, fit to be shown to the person who asked."""

LONGEST_QUOTED = 80  # characters


class InputError(ValueError):
    """An argument or a file that cannot be used; the text says what is wrong and what is allowed."""


class WeightsError(RuntimeError):
    """Weights that cannot be had or used; the text says what is wrong and what to do."""


def quoted(value: object) -> str:
    """Return a value as text for a message: one line of at most 80 printable characters."""
    start = str(value)[: 4 * LONGEST_QUOTED]
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in start).split())
    short = len(text) <= LONGEST_QUOTED and len(str(value)) <= len(start)
    return text if short else text[: LONGEST_QUOTED - 3] + "..."
