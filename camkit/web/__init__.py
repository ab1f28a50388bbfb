"""The page and the API: everything that needs Gradio. What must stand before Gradio is imported stands here, where
every import of this wing comes past."""

from __future__ import annotations

import inspect
import os
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Gradio keeps the last 10,000 events and sums them up after each of them, for a page that is switched off here.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
# TensorFlow remarks on GPUs that it does not find; what goes wrong comes as an exception. Set before TensorFlow is
# loaded, which the background thread does.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _import_gradio() -> None:
    """Imports Gradio without the stub files that it writes for editors, whenever it is imported, beside the source of
    every component, ours included: parsing them is two fifths of its import."""
    usual = inspect.getfile

    def getfile(object: Any) -> str:
        if isinstance(object, type) and object.__module__.startswith("gradio."):
            raise OSError  # as of a component that is in no file, which gets no stub
        return usual(object)

    inspect.getfile = getfile
    try:
        from gradio import blocks_events, component_meta
    finally:
        inspect.getfile = usual
    modules: tuple[Any, ...] = (blocks_events, component_meta)
    for module in modules:  # no documented name of theirs; a test notices when it moves
        module.create_or_modify_pyi = lambda *_: None


_import_gradio()
