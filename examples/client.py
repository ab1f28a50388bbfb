"""All endpoints of the demo, called from Python: `python examples/client.py [URL] [FOLDER]`.

URL is a running demo, http://127.0.0.1:7860 unless given; FOLDER, the current one unless given, receives an overlay,
its maps and the bundle. Needs `pip install gradio_client` and nothing else of this repository but a picture.

The same without Python, here for /classify: upload, ask, fetch the answer.

    curl -F files=@examples/astronaut.jpg $URL/gradio_api/upload        # ["<path>"]
    curl -H "Content-Type: application/json" $URL/gradio_api/call/classify \\
         -d '{"data": [{"path": "<path>", "meta": {"_type": "gradio.FileData"}}, "auto", 3]}'   # {"event_id": "<id>"}
    curl $URL/gradio_api/call/classify/<id>                             # event: complete, data: [{"model": ...
"""

import shutil
import sys
import tempfile
from pathlib import Path

from gradio_client import Client, handle_file

PICTURE = handle_file(str(Path(__file__).with_name("astronaut.jpg")))
LAYER = {"efficientnet_lite0": "block3b_add", "vgg16": "block5_conv3"}  # Lite0's last layer has 1280 channels: slow


def main(url: str = "http://127.0.0.1:7860", folder: str = ".") -> None:
    with tempfile.TemporaryDirectory() as downloads:
        client = Client(url, download_files=downloads, verbose=False)
        try:
            model = info(client)
            classify(client, model)
            explain(client, model, Path(folder))
            compare(client, model, Path(folder))
            evaluate(client, model)
        finally:
            client.close()


def info(client: Client) -> str:
    """What the server runs; returns the model that it takes by default."""
    server = client.predict(api_name="/info")
    print(f"camkit {server['version']} on {server['device']}, methods: {', '.join(server['methods'])}")
    for key, model in server["models"].items():
        print(f"  {key}: {model['state']}. {model['message']}")
    return server["default_model"]


def classify(client: Client, model: str) -> None:
    answer = client.predict(PICTURE, model=model, top_k=3, api_name="/classify")
    print("\nWhat it is taken for:")
    for row in answer["predictions"]:
        print(f"  {row['probability']:6.1%}  {row['name']} ({row['class_index']})")


def explain(client: Client, model: str, folder: Path) -> None:
    overlay, facts, maps = client.predict(
        PICTURE,
        method="gradcam",
        class_name="space shuttle",
        model=model,
        alpha=0.5,
        colormap="turbo",
        api_name="/explain",
    )
    height, width = facts["raw_shape"]
    print(f"\nGrad-CAM for {facts['class_name']}: {width} x {height} raw map in {facts['seconds']:.2f} s")
    print(f"  {save(overlay, folder / 'overlay.png')}, {save(maps, folder / 'maps.npz')}")


def compare(client: Client, model: str, folder: Path) -> None:
    """All four methods. The answers arrive while they are computed; the last one is complete."""
    job = client.submit(
        PICTURE, class_name="space shuttle", model=model, target_layer=LAYER[model], api_name="/compare"
    )
    print("\nFour methods:")
    for _, facts, bundle in job:
        done = sum(row["complete"] for row in facts["methods"])
        print(f"  {facts['seconds']:5.1f} s: {done} of 4 complete")
    for row in facts["methods"]:
        print(f"  {row['method']:18} {row['seconds']:6.2f} s, {row['forward_passes']} forward passes")
    print(f"  {save(bundle, folder / 'bundle.zip')}: camkit.load_bundle reads it")


def evaluate(client: Client, model: str) -> None:
    """How far the maps can be believed on this picture. Controls know nothing of it."""
    answer = client.predict(PICTURE, methods=["gradcam"], class_name="space shuttle", model=model, api_name="/evaluate")
    print("\nInsertion minus deletion, higher is better:")
    for row in answer["faithfulness"].values():
        print(f"  {row['insertion_minus_deletion']:+.3f}  {row['name']}{' (control)' if row['control'] else ''}")


def save(downloaded: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(downloaded, path))


if __name__ == "__main__":
    main(*sys.argv[1:3])
