"""What users bring of TorchScript, SavedModel and TFLite; each framework makes and imports it in its own process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

# Imports each case and prints {title: [exit code, last line of stderr, the manifest or null]}.
IMPORT = """
import contextlib, io, json, os, sys
from pathlib import Path
import numpy as np
from export.__main__ import main
folder = Path(sys.argv[1])
x = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
cases = {}
{make}
seen = {}
for title, (file, inputs, expected, *options) in cases.items():
    arrays = {f"inputs/{name}": array for name, array in inputs.items()}
    np.savez(folder / "samples.npz", **arrays, **{f"expected/{name}": array for name, array in expected.items()})
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
        code = main(["import", str(file), "--name", title, "--samples", str(folder / "samples.npz"), *options])
    lines = [line for line in stderr.getvalue().replace(chr(13), chr(10)).splitlines() if line.strip()] or [""]
    manifests = list(Path(os.environ["ARTIFACTS_DIR"], title).glob("model_repository/*/manifest.json"))
    seen[title] = [code, lines[-1], json.loads(manifests[0].read_text()) if manifests else None]
print(json.dumps(seen))
"""
TORCH = """
import torch

class Twice(torch.nn.Module):
    def forward(self, x):
        return x * 2

class Named(torch.nn.Module):
    def forward(self, x):
        return {"p": x * 2, "q": x.sum(1)}

class Two(torch.nn.Module):
    def forward(self, x):
        return x * 2, x + 1

class Minus(torch.nn.Module):
    def forward(self, first, second):
        return first - second

class Rate(torch.nn.Module):
    def forward(self, x, rate: int):
        return x * rate

def script(module, name):
    torch.jit.script(module.eval()).save(str(folder / name))
    return folder / name

linear = torch.nn.Linear(3, 2).eval()
torch.jit.trace(linear, torch.zeros(2, 3)).save(str(folder / "linear.pt"))
torch.save(linear.state_dict(), folder / "weights.pt")
answer = linear(torch.from_numpy(x)).detach().numpy()
cases["jit"] = (script(Twice(), "twice.jit"), {"x": x}, {"y": x * 2})
cases["pth"] = (script(Twice(), "twice.pth"), {"anything": x}, {"y": x * 2})
cases["dict"] = (script(Named(), "named.pt"), {"x": x}, {"p": x * 2, "q": x.sum(1)})
cases["doubles"] = (folder / "linear.pt", {"x": x.astype(float)}, {"y": answer.astype(float)})
cases["order"] = (script(Minus(), "minus.pt"), {"second": x, "first": x * 3}, {"y": x * 2})
rates = np.arange(6)
cases["scalar"] = (script(Rate(), "rate.pt"), {"x": x, "rate": rates}, {"y": x * rates.astype("f4")[:, None]})
cases["names"] = (folder / "minus.pt", {"a": x, "b": x}, {"y": x})
cases["outputs"] = (script(Two(), "two.pt"), {"x": x}, {"y": x * 2})
cases["state"] = (folder / "weights.pt", {"x": x}, {"y": answer})
"""
TENSORFLOW = """
from export.formats.savedmodel import set_threads
from training.quiet_tensorflow import tf
set_threads(tf, 1)

class Model(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable([[1.0], [2.0], [3.0]])
        self.optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def weigh(self, x):
        return {"y": x @ self.w}
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="s")])
    def same(self, s):
        return {"t": tf.identity(s)}
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def encode(self, x):
        return {"code": x * 2}
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="code")])
    def embed(self, code):
        return {"x": code + 1}

def lite(name, **signatures):
    tf.saved_model.save(model, str(folder / name), signatures=signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / name), signature_keys=list(signatures))
    (folder / f"{name}.tflite").write_bytes(converter.convert())
    return folder / f"{name}.tflite"

model = Model()
lite("strings", serving_default=model.same)
two = lite("two", serving_default=model.encode, embed=model.embed)
choice = lite("choice", alpha=model.encode, beta=model.embed)
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(model.weigh(tf.ones([1, 3]))["y"])
model.optimizer.apply_gradients([(tape.gradient(loss, model.w), model.w)])
tf.saved_model.save(model, str(folder / "slots" / "7"), signatures={"serving_default": model.weigh})
import keras
layer = keras.layers.BatchNormalization()
layer.build((None, 3))
hidden = tf.Module()
hidden.layer = layer
hidden.call = tf.function(lambda x: {"y": layer(x)}, input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
tf.saved_model.save(hidden, str(folder / "hidden"), signatures={"serving_default": hidden.call})
cases["hidden"] = (folder / "hidden", {"x": x}, {"y": layer(x).numpy()})
texts = np.array(["zürich", "10", "日本", ""])
cases["slots"] = (folder / "slots", {"x": x}, {"y": x @ model.w.numpy()})
cases["strings"] = (folder / "strings", {"s": texts}, {"t": texts})
cases["texts"] = (folder / "strings.tflite", {"s": texts}, {"t": texts})
cases["default"] = (two, {"x": x}, {"code": x * 2})
cases["embed"] = (two, {"code": x[:, :2]}, {"x": x[:, :2] + 1}, "--signature", "embed")
cases["choice"] = (choice, {"x": x}, {"code": x * 2})
cases["doubles"] = (folder / "slots", {"x": x.astype(float)}, {"y": x.astype(float) @ model.w.numpy()})
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory, run_python) -> Callable[[str], dict[str, list]]:
    """What came of each case of a framework; made once."""
    known: dict[str, dict[str, list]] = {}

    def run(framework: str) -> dict[str, list]:
        if framework not in known:
            folder = Path(tmp_path_factory.mktemp(framework))
            make = {"torch": TORCH, "tensorflow": TENSORFLOW}[framework]
            (folder / "cases.py").write_text(IMPORT.replace("{make}", make))
            printed = run_python("-W", "ignore", folder / "cases.py", folder, ARTIFACTS_DIR=folder / "artifacts")
            known[framework] = json.loads(printed.splitlines()[-1])
        return known[framework]

    return run


@pytest.mark.parametrize(
    ("framework", "title"),
    [("torch", title) for title in ("jit", "pth", "dict", "doubles", "order", "scalar")]
    + [("tensorflow", title) for title in ("slots", "strings", "texts", "default", "embed", "doubles")],
)  # fmt: skip
def test_model_comes_in(framework, title, imported):
    code, message, manifest = imported(framework)[title]
    assert code == 0, message
    assert manifest["batching"]["verdict"] == ("refused" if title == "scalar" else "proven"), manifest["batching"]


def test_torchscript_takes_its_arguments_by_name(imported):
    _, _, manifest = imported("torch")["order"]
    assert [tensor["name"] for tensor in manifest["inputs"]] == ["first", "second"]


def test_torchscript_takes_a_number_as_a_scalar(imported):
    _, _, manifest = imported("torch")["scalar"]
    assert {tensor["name"]: tensor["shape"] for tensor in manifest["inputs"]} == {"x": [-1, 3], "rate": []}


@pytest.mark.parametrize(
    ("framework", "title", "words"),
    [
        ("torch", "names", "minus.pt: forward takes (first, second), the samples have a, b: TorchScript doesn't say"),
        ("torch", "outputs", "forward returns 2 tensors, the samples expect 1 (y)"),
        ("torch", "state", "weights.pt is a state dict, weights without a network: save the module with"),
        (
            "tensorflow",
            "hidden",
            "hidden: TensorFlow Serving can't run it (Could not find variable batch_normalization/",
        ),
        ("tensorflow", "choice", "choice.tflite has no signature 'serving_default', only alpha, beta: choose one with"),
    ],
)
def test_model_is_refused_in_words(framework, title, words, imported):
    code, message, manifest = imported(framework)[title]
    assert (code, manifest) == (2, None)
    assert words in message
