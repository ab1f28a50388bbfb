"""The errors that camkit raises on purpose. Their text is one sentence, fit to be shown to whoever asked."""


class InputError(ValueError):
    """An argument or a file that cannot be used; the text says what is wrong and what is allowed."""


class WeightsError(RuntimeError):
    """Weights that cannot be had or used; the text says what is wrong and what to do."""
