"""Turns every error of a handler into one sentence for the visitor; an unexpected one is logged in full."""

from __future__ import annotations

import html
import inspect
import logging
from contextlib import closing
from functools import partial, wraps

import gradio as gr

from ...errors import InputError, WeightsError

UNEXPECTED = (
    "This could not be computed: a value sent is of the wrong type, or the fault is the server's and is in its log."
)
log = logging.getLogger("app")


def refusal(error: Exception, markup: bool) -> gr.Error:
    """Return an error with camkit's own sentence, or one that only says that the reason is in the log."""
    if isinstance(error, gr.Error):
        return error
    expected = isinstance(error, InputError | WeightsError)
    if not expected:
        log.error("%s", UNEXPECTED, exc_info=error)
    sentence = str(error) if expected else UNEXPECTED
    return gr.Error(
        html.escape(sentence, False) if markup else sentence, print_exception=False, title="That did not work"
    )


def with_clear_errors(function=None, *, markup: bool = True):
    """Make every error of a handler one sentence: HTML for the page, which shows it as HTML, and with `markup` False
    plain text for programs. A stream that ends without having yielded leaves every output as it is; Gradio by itself
    would empty them all."""
    if function is None:
        return partial(with_clear_errors, markup=markup)
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def stream(*args, **kwargs):
            try:
                with closing(function(*args, **kwargs)) as updates:
                    yield next(updates, gr.skip())
                    yield from updates
            except Exception as error:
                raise refusal(error, markup) from error

        return stream

    @wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise refusal(error, markup) from error

    return call
