"""Stands before scikit-learn in the tests' processes, which use its pictures and import nothing of it.

Keras imports it where it finds it, for wrappers that nothing here uses: a second in every process. The demo's own
requirements do not bring it.
"""

raise ImportError("scikit-learn is not there for Keras to import")
