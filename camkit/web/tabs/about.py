"""The tab "About": the methods' formulas out of METHODS, what the symbols and figures mean, and a first API call."""

from __future__ import annotations

import gradio as gr

from ...methods import METHODS

ABOUT = """
### What the symbols mean
$A^k$ is channel $k$ of the target layer ($h \\times w$ values), $y^c$ the class's score before softmax, $p_c$ its
probability after it, $x$ the picture as the model sees it, at its input size. Every method gets the same model with
linear outputs: Score-CAM takes the softmax itself, and a model that has one already would be softmaxed twice, which
makes all weights nearly equal. A model that gives several labels has a sigmoid for each in place of the softmax; of one
that gives a value, $y^c$ is that value.

### From a map to the picture
A map has the layer's resolution (7 x 7 or 14 x 14 at the last layers of most networks). tf-keras-vis brings it to the
model's input size by linear interpolation with aligned corners, which moves what lies near the border outward by up to
half a cell, and scales it to 0 to 1. Measured with the four default methods on the seven example pictures, half-pixel
alignment instead raises insertion by 0.007 and deletion, where lower is better, by 0.006; their difference does not
move (+0.001, 95 % interval -0.010 to +0.011). So the page shows exactly tf-keras-vis's map, brought onto your
picture's own size.

### What the figures say
Seconds and passes are what a method takes by itself: the one pass that the prediction and the gradient methods share is
counted for each. A *forward pass* is one picture sent through the network. The metrics see one class on both sides;
insertion starts from a blurred picture, deletion ends in the model's zero. One picture is an anecdote: the tab *Many
pictures* gives means with intervals.

### What the networks cannot name
The thousand classes of ImageNet are things and animals. Of people they have a groom, a scuba diver and a ballplayer
only: where a face fills the picture, the network names what is worn or held, or is not sure. A model of your own has
its own classes.

### From a program
*Use via API*, below, lists the endpoints with their parameters; `examples/client.py` shows them all:
"""
API_EXAMPLE = """from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")  # or "owner/name" of a Space
overlay, facts, maps = client.predict(
    handle_file("examples/astronaut.jpg"), method="gradcam", class_name="space shuttle", api_name="/explain")
"""


def build() -> None:
    with gr.Tab("About", id="about"):
        for method in METHODS.values():
            gr.Markdown(
                f"### {method.name}\n{method.summary}\n\n$$ {method.formula} $$\n\n{method.differs} "
                f"[{method.paper}]({method.url})",
                latex_delimiters=[{"left": "$$", "right": "$$", "display": True}],
            )
        gr.Markdown(ABOUT, latex_delimiters=[{"left": "$", "right": "$", "display": False}])
        gr.Markdown(f"```text\n{API_EXAMPLE}```")  # without colours, which are too faint in a Code component
