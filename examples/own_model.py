"""Makes a small model to try the demo with: `python examples/own_model.py`, then

    python app.py --model own_model.keras --labels own_labels.txt

As transfer learning goes: a pretrained network (the bundled one, frozen) nested in a Sequential, and a new head,
trained on crops of the example pictures for half a minute. Six pictures teach nobody what a cat is: put your own data
here.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from PIL import Image

HERE = Path(__file__).resolve().parent
# camkit's folder: above this file where camkit is installed, beside it in the repository.
CAMKIT = next(each for each in (HERE.parent, HERE.parent / "camkit") if (each / "bundled").is_dir())
PICTURES = {
    "cat": "chelsea.jpg",
    "cup of coffee": "coffee.jpg",
    "astronaut": "astronaut.jpg",
    "temple": "china.jpg",
    "flower": "flower.jpg",
    "rocket": "rocket.jpg",
}
CROPS = 24  # of each picture


def crops(path: Path, random: np.random.Generator) -> np.ndarray:
    """Random crops of a picture, (CROPS, 224, 224, 3) float32 RGB in [0, 255]."""
    picture, cut = Image.open(path).convert("RGB"), []
    for _ in range(CROPS):
        side = int(random.uniform(0.5, 1.0) * min(picture.size))
        left, top = (int(random.integers(0, size - side + 1)) for size in picture.size)
        cut.append(np.asarray(picture.resize((224, 224), box=(left, top, left + side, top + side)), np.float32))
    return np.stack(cut)


def main() -> None:
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    pictures = np.concatenate([crops(HERE / name, random) for name in PICTURES.values()])
    classes = np.repeat(np.arange(len(PICTURES)), CROPS)

    bundled = keras.models.load_model(CAMKIT / "bundled" / "efficientnet_lite0.keras", compile=False)
    base = keras.Model(bundled.inputs, bundled.get_layer("top_activation").output, name="base")
    base.trainable = False
    scale = keras.Sequential([keras.Input((224, 224, 3)), layers.Rescaling(1 / 128, offset=-127 / 128), base])
    head = keras.Sequential(
        [
            keras.Input(base.output.shape[1:]),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(len(PICTURES), activation="softmax"),
        ]
    )
    head.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    head.fit(scale.predict(pictures, verbose=0), classes, epochs=20, verbose=2)

    keras.Sequential([keras.Input((224, 224, 3)), *scale.layers, *head.layers]).save("own_model.keras")
    Path("own_labels.txt").write_text("\n".join(PICTURES), encoding="utf-8")
    print("own_model.keras and own_labels.txt are written.")


if __name__ == "__main__":
    main()
