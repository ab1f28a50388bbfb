"""The `camkit` command, also `python -m camkit`: its subcommands, and `camkit explain` itself.

A subcommand is imported when it is asked for, and TensorFlow when there is a picture to explain, so that help comes at
once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

from .errors import InputError, WeightsError
from .explain import explain_stream
from .explanation import Explanation
from .export.bundle import explanation_files
from .export.figure import figure_files
from .methods import DEFAULT_METHODS, METHODS
from .models.options import add_model_options, add_window_option, check_known, load_with_progress
from .passes.outputs import OUTPUTS
from .picture import check_window, read_picture
from .units import seconds_in_words
from .version import __version__


def explain_pictures(arguments: list[str]) -> int:
    """Run `camkit explain`; return its exit status: 0, or 1 when a picture could not be read, 2 when the arguments
    cannot be used, 130 when it was interrupted."""
    options = _explain_parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return _explain(options)
    except (InputError, WeightsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The pictures listed above are complete.", file=sys.stderr)
        return 130


def _explain_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "camkit explain",
        description="Explain pictures. Each gets a folder of its own in DIR: a figure (PNG and PDF), an overlay for "
        "each method, the maps (NPZ) and all facts (JSON).",
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a picture, or a folder of pictures")
    parser.add_argument(
        "--method",
        action="append",
        choices=tuple(METHODS),
        metavar="METHOD",
        help=f"one of {', '.join(METHODS)}; repeat it for several; default: {', '.join(DEFAULT_METHODS)}",
    )
    parser.add_argument(
        "--class", dest="class_name", metavar="CLASS", help="its name or index; default: the top class of each picture"
    )
    parser.add_argument("--layer", help="the target layer; default: the model's last")
    parser.add_argument("--max-n", type=int, metavar="N", help="channels of Faster Score-CAM; default: 10")
    add_model_options(parser)
    add_window_option(parser)
    parser.add_argument("--out", type=Path, default=Path("explanations"), metavar="DIR", help="default: %(default)s")
    return parser


def _explain(options: argparse.Namespace) -> int:
    from .study.pictures import gather
    from .study.progress import StatusLine, account

    window = check_window(options.window)
    found = gather(options.pictures)
    pictures = found.pictures
    check_known(options, options.layer, options.class_name)
    status = StatusLine()
    classifier = load_with_progress(options, status.show)
    index = None if options.class_name is None else classifier.labels.find_class(options.class_name).index
    skipped = 0
    for number, (name, path) in enumerate(pictures.items(), 1):
        try:
            opened = read_picture(path, window=window)
        except InputError as error:
            status.clear()
            print(f"{name} is left out: {error}", file=sys.stderr)
            skipped += 1
            continue
        methods = options.method or DEFAULT_METHODS
        snapshots = explain_stream(classifier, opened.image, methods, index, options.layer, options.max_n)
        for explanation in snapshots:
            status.show(f"{number} of {len(pictures)}: {name}, {_progress(explanation)}")
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        window_in_words = opened.window.sentence if opened.window else ""
        files = explanation_files(explanation, versions={"camkit": __version__}, window=window_in_words)
        for file, content in {**files, **figure_files(explanation, model_name=classifier.spec.name)}.items():
            (folder / file).write_bytes(content)
        status.clear()
        answer = f"{explanation.class_name}, {OUTPUTS[explanation.outputs].in_words(explanation.answer)}"
        answer += f", {window_in_words}" if window_in_words else ""
        print(f"{name}: {answer}, {seconds_in_words(explanation.seconds)}, {folder}", flush=True)
    if found.skipped:
        print(account(f"{len(pictures) - skipped} explained", found.skipped), file=sys.stderr)
    return 1 if skipped else 0


def _progress(explanation: Explanation) -> str:
    """Return in words the work at hand: the method under way, its channels and the seconds left."""
    partial = [cam for cam in explanation.cams.values() if not cam.complete]
    if not partial:
        return f"{len(explanation.cams)} of {len(explanation.methods)} maps"
    cam = max(partial, key=lambda each: each.seconds_left)
    left = seconds_in_words(cam.seconds_left)
    return f"{METHODS[cam.method].name}, {cam.channels} of {cam.channels_total} channels, about {left} left"


def _late(main: str) -> Callable[[list[str]], int | None]:
    """Return a function that imports the main function of this name, as "module:function", and calls it."""
    return lambda arguments: resolve_name(main)(arguments)


COMMANDS: dict[str, tuple[str, Callable[[list[str]], int | None]]] = {
    "explain": ("write the figure, overlays and maps of pictures", explain_pictures),
    "evaluate": ("measure the methods over a set of pictures", _late("camkit.evaluate:main")),
    "serve": ("start the page and its API", _late("camkit.web.page:main")),
}


def main(arguments: list[str] | None = None) -> int | None:
    """Run the command line; return the exit status, where None is success."""
    given = sys.argv[1:] if arguments is None else arguments
    lines = "\n".join(f"  camkit {name:9} {words}" for name, (words, _) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "camkit",
        usage="camkit COMMAND ...",
        description=f"Class activation maps of image classifiers.\n\n{lines}\n\nEach has a --help of its own.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"camkit {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=f"one of {', '.join(COMMANDS)}")
    _, run = COMMANDS[parser.parse_args(given[:1]).command]
    return run(given[1:])


if __name__ == "__main__":
    sys.exit(main())
