"""The page and the API: everything that needs Gradio. What must stand before Gradio is imported stands here, where
every import of this wing comes past."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.util import find_spec
from urllib.request import getproxies

try:  # which Gradio asks for when it is imported
    tempfile.gettempdir()
except FileNotFoundError:
    sys.exit("No temporary folder can be written: set TMPDIR to a folder that can.")
_socks = [url for url in getproxies().values() if url.startswith("socks")]
if _socks and (find_spec("socksio") is None or any(url.startswith("socks4") for url in _socks)):
    sys.exit("The environment names a SOCKS proxy: unset it, or name a socks5:// one and install the package socksio.")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Gradio keeps the last 10,000 events and sums them up after each of them, for a page that is switched off here.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
# TensorFlow remarks on GPUs that it does not find; what goes wrong comes as an exception. Set before TensorFlow is
# loaded, which the background thread does.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
