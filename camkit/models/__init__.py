"""Which classifier: the registry and `load`, weights and their sources, any Keras model made flat."""

from .registry import MODELS, load

__all__ = ["MODELS", "load"]
