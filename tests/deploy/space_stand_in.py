"""The app of a Space, for the deployment's tests: a real Gradio app with the two endpoints that a deployment calls.

Run as a program with a folder: `answers.json` there is what it says, read at each call, and the `.log` files get a
line for each call. Prints its address, then serves until its standard input ends.
"""

import json
import sys
import tempfile
from pathlib import Path

import gradio as gr

FOLDER = Path(sys.argv[1])


def answers() -> dict:
    return json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))


def log(name: str, line: str) -> None:
    with (FOLDER / name).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def asked_before() -> int:
    return len((FOLDER / "explain.log").read_text(encoding="utf-8").splitlines())


def info(request: gr.Request):
    log("info.log", request.headers.get("x-hf-authorization", "none"))
    said = answers()
    state = "ready" if asked_before() >= said["downloading"] else "downloading"
    models = {"vgg16": {"state": state, "message": f"VGG16's weights: {state}."}}
    device = ", ".join(said["gpus"]) or "CPU"
    return {"revision": said["revision"], "device": device, "gpus": said["gpus"], "models": models}


def explain(image, method, class_name, model):
    said, before = answers(), asked_before()
    log("explain.log", f"{method} {model}")
    if before < said["downloading"]:
        raise gr.Error("VGG16 has no weights here yet.", print_exception=False)
    if said["problem"]:
        raise gr.Error(said["problem"], print_exception=False)
    with tempfile.NamedTemporaryFile(suffix=".npz", delete=False) as archive:
        archive.write(said["archive"].encode())
    result = {"class_index": said["class_index"], "class_name": "tabby", "probability": 0.5, "raw": said["raw"]}
    return image, result | {"all_zero": not any(map(any, said["raw"]))}, archive.name


with gr.Blocks() as demo:
    asked = [gr.Image(type="filepath"), gr.Text("scorecam"), gr.Text(""), gr.Text("efficientnet_lite0")]
    told = [gr.Image(type="filepath"), gr.JSON(), gr.File()]
    button, facts = gr.Button(), gr.JSON()
    button.click(explain, asked, told, api_name="explain")
    button.click(info, None, facts, api_name="info", queue=False)

if __name__ == "__main__":
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    print(url.rstrip("/"), flush=True)
    sys.stdin.read()
    demo.close(verbose=False)
