"""The figure to keep: the picture and all maps with their captions, in one row for a paper, or as a slide of 16:9.

Drawn with Pillow and its own font, so that it looks the same on every machine.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..explanation import Explanation
from ..maps import ALPHA, box_of, colors, overlay
from ..methods import METHODS
from ..passes.outputs import OUTPUTS
from ..units import cost_in_words

WIDTH = 2400  # pixels at least: 8 inches at DPI
SCREEN = 1600  # pixels, the width in a notebook
PANEL = 600  # pixels at least, the width of one picture
SLIDE = (1920, 1080)  # pixels, width and height
DPI = 300
GAP = 40
INK, FAINT, PAPER = (17, 24, 39), (75, 85, 99), (255, 255, 255)


@dataclass(frozen=True)
class _Panel:
    image: np.ndarray
    title: str
    lines: tuple[str, ...]


def draw_figure(
    explanation: Explanation,
    alpha: float = ALPHA,
    colormap: str = "viridis",
    opacity: str = "even",
    model_name: str = "",
    box: bool = False,
) -> Image.Image:
    """Return the picture and every map of the explanation in one row, an RGB image at least WIDTH pixels wide.

    `alpha`, `colormap` and `opacity` are those of `overlay`; `model_name` stands in the caption, else the model's key;
    `box` draws each map's `box_of`.

    >>> import camkit
    >>> classifier, image = camkit.load("efficientnet_lite0"), camkit.open_picture("examples/chelsea.jpg")
    >>> figure = camkit.draw_figure(camkit.explain(classifier, image, ["gradcam"]))
    >>> figure.mode, figure.width
    ('RGB', 2400)
    """
    size = explanation.image.shape[1], explanation.image.shape[0]
    panels = _panels(explanation, alpha, colormap, opacity, model_name, box)
    count = len(panels)
    wide = max(PANEL, -(-(WIDTH - GAP * (count + 1)) // count))
    high = round(wide * size[1] / size[0])
    big, small = max(36, wide // 14), max(28, wide // 18)
    top = GAP + 2 * big
    sheet = Image.new("RGB", (GAP + count * (wide + GAP), top + high + 2 * big + 3 * small + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    scale = _scale(sheet, colormap, big)
    title = f"{explanation.class_name}, {explanation.answer_in_words}"
    _write(draw, (GAP, GAP), title, round(1.25 * big), INK, sheet.width - 3 * GAP - scale)
    for position, panel in enumerate(panels):
        left = GAP + position * (wide + GAP)
        sheet.paste(Image.fromarray(panel.image).resize((wide, high), Image.Resampling.LANCZOS), (left, top))
        _write(draw, (left, top + high + big // 2), panel.title, big, INK, wide)
        for row, line in enumerate(panel.lines):
            _write(draw, (left, top + high + 2 * big + round(1.3 * row * small)), line, small, FAINT, wide)
    return sheet


def draw_slide(
    explanation: Explanation,
    alpha: float = ALPHA,
    colormap: str = "viridis",
    opacity: str = "even",
    model_name: str = "",
    words: str = "",
    link: str = "",
    box: bool = False,
) -> Image.Image:
    """Return picture and maps as a slide, an RGB image of SLIDE pixels, with `words` under the title and a `link` at
    the bottom. The other arguments are those of `draw_figure`."""
    panels = _panels(explanation, alpha, colormap, opacity, model_name, box)
    sheet = Image.new("RGB", SLIDE, PAPER)
    draw, (across, down), edge = ImageDraw.Draw(sheet), SLIDE, 60
    scale = _scale(sheet, colormap, 40)
    title = f"{explanation.class_name}, {explanation.answer_in_words}"
    _write(draw, (edge, 40), title, 56, INK, across - 2 * edge - scale)
    top = 124
    for line in _wrapped(words, 30, across - 2 * edge)[:4]:
        draw.text((edge, top), line, INK, ImageFont.load_default(size=30))
        top += 40
    top, caption = top + 20, 120
    room, shape = (across - 2 * edge, down - top - 60), explanation.image.shape[1] / explanation.image.shape[0]

    def fitting(columns: int) -> float:  # the width of one picture in so many columns
        rows = -(-len(panels) // columns)
        return min((room[0] - GAP * (columns - 1)) / columns, (room[1] / rows - caption) * shape)

    columns = max(range(1, len(panels) + 1), key=fitting)
    wide = max(1, int(fitting(columns)))
    high = max(1, round(wide / shape))
    pitch = max(wide, 300 if columns > 1 else wide) + GAP  # so that captions stay legible below a narrow picture
    pitch = min(pitch, (room[0] + GAP) // columns)
    top += (
        max(0, room[1] - -(-len(panels) // columns) * (high + caption)) // 3
    )  # what is left over, a third of it above
    for position, panel in enumerate(panels):
        left, upper = edge + position % columns * pitch, top + position // columns * (high + caption)
        sheet.paste(Image.fromarray(panel.image).resize((wide, high), Image.Resampling.LANCZOS), (left, upper))
        _write(draw, (left, upper + high + 8), panel.title, 30, INK, pitch - GAP)
        for row, line in enumerate(panel.lines):
            _write(draw, (left, upper + high + 48 + 28 * row), line, 22, FAINT, pitch - GAP)
    _write(draw, (edge, down - 46), link, 24, FAINT, across - 2 * edge)
    return sheet


def slide_png(explanation: Explanation, **options) -> bytes:
    """Return the slide as a PNG file; arguments are those of `draw_slide`."""
    buffer = io.BytesIO()
    draw_slide(explanation, **options).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def figure_files(explanation: Explanation, **look) -> dict[str, bytes]:
    """Return the figure as files by name, a PNG for slides and a PDF of the same pixels for papers; arguments are
    those of `draw_figure`."""
    figure, files = draw_figure(explanation, **look), {}
    for name, options in {"figure.png": {"compress_level": 3}, "figure.pdf": {"quality": 92}}.items():
        buffer = io.BytesIO()
        figure.save(buffer, name.rsplit(".")[-1].upper(), dpi=(DPI, DPI), resolution=DPI, **options)
        files[name] = buffer.getvalue()
    return files


def figure_png(explanation: Explanation) -> bytes:
    """Return the figure as a PNG file for a screen, at most SCREEN pixels wide."""
    figure, buffer = draw_figure(explanation), io.BytesIO()
    figure.thumbnail((SCREEN, SCREEN))
    figure.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _panels(
    explanation: Explanation, alpha: float, colormap: str, opacity: str, model_name: str, box: bool
) -> list[_Panel]:
    """Return the picture and every map over it, with their captions."""
    panels = [_Panel(explanation.image, "Picture", _about_the_picture(explanation, model_name))]
    for key, cam in explanation.cams.items():
        drawn = overlay(explanation.image, cam, alpha, colormap, opacity)
        if box and (found := box_of(cam)):
            drawn = _framed(drawn, found)
        lines = [cost_in_words(cam)]
        if not cam.complete:
            lines.append(f"partial: {cam.channels} of {cam.channels_total} channels")
        panels.append(_Panel(drawn, METHODS[key].name, tuple(lines)))
    return panels


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """Return the text as lines of at most `width` pixels, broken between words."""
    font, lines = ImageFont.load_default(size=size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _framed(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return the picture with the box's frame, white between two dark lines."""
    left, top, right, bottom = box
    framed, line = Image.fromarray(image), max(1, round(image.shape[1] / 200))
    draw = ImageDraw.Draw(framed)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=INK, width=3 * line)
    if right - left > 2 * line and bottom - top > 2 * line:
        draw.rectangle((left + line, top + line, right - 1 - line, bottom - 1 - line), outline=PAPER, width=line)
    return np.asarray(framed)


def _about_the_picture(explanation: Explanation, model_name: str) -> tuple[str, ...]:
    top = explanation.predictions[0]
    lines = [f"{model_name or explanation.model}, layer {explanation.target_layer}"]
    if top.class_index != explanation.class_index:
        lines.append(f"top class: {top.name}, {OUTPUTS[explanation.outputs].in_words(top.answer)}")
    return tuple(lines)


def _scale(sheet: Image.Image, colormap: str, high: int) -> int:
    """Draws the colours from 0 to 1 into the upper right corner; returns the width that it takes."""
    draw, wide = ImageDraw.Draw(sheet), 8 * high
    bar = Image.fromarray(colors(colormap)[None].repeat(high // 2, axis=0)).resize((wide, high // 2))
    left, font = sheet.width - GAP - wide - high, ImageFont.load_default(size=round(0.8 * high))
    sheet.paste(bar, (left, GAP + high // 2))
    draw.text((left - high // 4, GAP + 3 * high // 4), "0", FAINT, font, anchor="rm")
    draw.text((left + wide + high // 4, GAP + 3 * high // 4), "1", FAINT, font, anchor="lm")
    return wide + 2 * high


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, color, width: int) -> None:
    """One line of text, smaller where it would be wider than `width` pixels."""
    length = ImageFont.load_default(size=size).getlength(text)
    font = ImageFont.load_default(size=size if length <= width else max(12, int(size * width / length)))
    draw.text(place, text, color, font)
