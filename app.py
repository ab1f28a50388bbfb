"""Class activation maps of one picture, side by side, live. `python app.py` starts the demo; `gradio app.py` reloads.

The page and its launch are in camkit/web/page.py; `camkit serve` runs the same.
"""

from camkit.web.page import launch, open_page, parse

options = parse(None if __name__ == "__main__" else [])
demo = open_page(options)  # a module variable, so that `gradio app.py` finds it

if __name__ == "__main__":
    launch(demo, options)
