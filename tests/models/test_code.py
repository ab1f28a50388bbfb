"""A Python file of the operator's own, run before a model is read: its layers are known, and its errors are a
sentence."""

import keras
import numpy as np
import pytest
from conftest import save
from keras import layers

import camkit
from camkit import InputError

LAYER = """import keras

{decorator}
class Tripling{name}(keras.layers.Layer):
    def __init__(self, start=1.0, **options):
        super().__init__(**options)
        self.start = start

    def build(self, shape):
        self.factor = self.add_weight((), initializer=keras.initializers.Constant(self.start))

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return super().get_config() | {{"start": self.start}}

def tripled{name}(x):
    return 3 * keras.ops.relu(x)
"""
DECORATORS = {"plain": "", "registered": '@keras.saving.register_keras_serializable("shop")'}


def model_of(layer, function):
    keras.utils.set_random_seed(2)
    base = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3, activation=function, name="only"), layer])
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(base(inputs))))


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_and_functions_of_the_file_are_known(tmp_path, noise, suffix, decorator):
    name = f"{decorator.title()}{suffix[1:].title()}"
    code = tmp_path / f"{name}.py"
    code.write_text(LAYER.format(name=name, decorator=DECORATORS[decorator]))
    exec(code.read_text(), held := {"__name__": "elsewhere"})
    model = model_of(held[f"Tripling{name}"](3.0), held[f"tripled{name}"])
    save(model, path := tmp_path / f"m{suffix}")
    if decorator == "registered":  # what another process that knows nothing of it would find
        keras.saving.get_custom_objects().pop(f"shop>Tripling{name}")
    with pytest.raises(
        InputError, match=r"^The model needs a class that is not Keras's own \(.*\): give the Python file"
    ):
        camkit.load(path, preprocess="unit")
    for _ in range(2):  # run once in a process
        classifier = camkit.load(path, preprocess="unit", code=code)
    expected = np.asarray(model(classifier.preprocess(noise)))[0]
    np.testing.assert_allclose(classifier.predict(noise), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.py", None, r"There is no Python file of the name that code gives: give the path of a \.py file\."),
        ("text.txt", "x = 1", r"There is no Python file of the name that code gives: give the path of a \.py file\."),
        ("wrong.py", "\n1 / 0\n", r"The code file wrong\.py cannot be run \(ZeroDivisionError, line 2\): mend it\."),
        ("bad.py", "def f(:\n", r"The code file bad\.py cannot be run \(SyntaxError\): mend it\."),
        (
            "lost.py",
            "import no_such_module_at_all",
            r"The code file lost\.py .* \(ModuleNotFoundError, line 1\): mend it\.",
        ),
    ],
)
def test_code_that_cannot_be_run_is_refused_in_a_sentence_without_a_path(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"^{message}$"):
        camkit.load("any.keras", code=tmp_path / name)
