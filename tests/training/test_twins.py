"""The twins are one network, twice: the same functions, the same answers, the same weights for the same seed."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from contract import FRAMEWORKS, MODELS, ROOT, Manifest

# Loads one twin's network, gives it weights in Keras's layout, and writes its probabilities on 1,000 test images.
TRANSPLANT = {
    "tensorflow": """
import sys, numpy as np
from training.mnist import read_split
from training.train_tensorflow import build_network, predict
weights = np.load(sys.argv[1])
network = build_network()
network.set_weights([weights[name] for name in ("k0", "b0", "k1", "b1", "k2", "b2")])
np.save(sys.argv[2], predict(network, read_split("t10k").first(1000).images))
""",
    "pytorch": """
import sys, numpy as np, torch
from training.mnist import read_split
from training.train_pytorch import build_network, predict
weights = {name: torch.from_numpy(array) for name, array in np.load(sys.argv[1]).items()}
hidden = weights["k1"].reshape(26, 26, 32, 128).permute(3, 2, 0, 1).reshape(128, -1)  # there h, w, c; here c, h, w
network = build_network()
network.load_state_dict({
    "convolution.weight": weights["k0"].permute(3, 2, 0, 1), "convolution.bias": weights["b0"],
    "hidden.weight": hidden, "hidden.bias": weights["b1"],
    "logits.weight": weights["k2"].T, "logits.bias": weights["b2"],
})
np.save(sys.argv[2], predict(network, read_split("t10k").first(1000).images))
""",
}

# Writes the trained weights of one twin in Keras's layout.
EXTRACT = {
    "tensorflow": """
import sys, numpy as np
from pathlib import Path
from training.train_tensorflow import load
names = ("k0", "b0", "k1", "b1", "k2", "b2")
np.savez(sys.argv[1], **dict(zip(names, load(Path(sys.argv[2])).network.get_weights())))
""",
    "pytorch": """
import sys, numpy as np
from pathlib import Path
from training.train_pytorch import load
state = {name: tensor.numpy() for name, tensor in load(Path(sys.argv[2])).network.state_dict().items()}
hidden = state["hidden.weight"].reshape(128, 32, 26, 26).transpose(2, 3, 1, 0).reshape(-1, 128)
np.savez(sys.argv[1], k0=state["convolution.weight"].transpose(2, 3, 1, 0), b0=state["convolution.bias"],
    k1=hidden, b1=state["hidden.bias"], k2=state["logits.weight"].T, b2=state["logits.bias"])
""",
}


def shape_of(framework: str) -> list[str]:
    tree = ast.parse((ROOT / f"training/train_{framework}.py").read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_twins_have_the_same_functions_in_the_same_order():
    ours, theirs = shape_of("tensorflow"), shape_of("pytorch")
    ours.remove("run_epoch")  # keras.fit brings its own loop
    assert ours == theirs


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_twin_is_trained_to_98_percent(framework):
    manifest = Manifest.read(MODELS / framework, f"make train-{framework}")
    manifest.check_files(MODELS / framework, f"make train-{framework}")
    assert manifest.test_accuracy >= 0.98
    assert manifest.training["parameters"] == 2_770_634
    assert [epoch["epoch"] for epoch in manifest.training["epochs_log"]] == [1, 2]


@pytest.mark.parametrize(("donor", "host"), [FRAMEWORKS, FRAMEWORKS[::-1]])
def test_transplanted_weights_answer_as_in_their_own_framework(donor, host, tmp_path, run_python):
    weights, answers = tmp_path / "weights.npz", tmp_path / "answers.npy"
    run_python("-c", EXTRACT[donor], weights, MODELS / donor)
    run_python("-c", TRANSPLANT[host], weights, answers)
    expected = np.load(MODELS / donor / "test_probabilities.npy")[:1000]
    assert np.abs(np.load(answers) - expected).max() <= 1e-5


TINY = ("--images", "320", "--epochs", "2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, run_python):
    """Per framework the folder of a tiny run of two epochs."""
    folders = {framework: tmp_path_factory.mktemp(framework) for framework in FRAMEWORKS}
    for framework, folder in folders.items():
        printed = run_python("-m", f"training.train_{framework}", *TINY, "--output", folder)
        epochs = printed.index("epoch 1  loss"), printed.index("epoch 2  loss")
        assert epochs[0] < epochs[1] < printed.index(f"{framework}: test accuracy")
    return folders


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_two_runs_with_one_seed_give_identical_weights(framework, whole, tmp_path, run_python):
    run_python("-m", f"training.train_{framework}", *TINY, "--output", tmp_path)
    first, second = (Manifest.read(folder, "").sha256 for folder in (whole[framework], tmp_path))
    assert len(first) == 2
    assert first == second


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_resumed_run_ends_as_an_uninterrupted_one(framework, whole, tmp_path, run_python):
    run_python("-c", STOP_AFTER_ONE.format(framework=framework), *TINY, "--epochs", "1", "--output", tmp_path)
    assert not (tmp_path / "manifest.json").exists()
    printed = run_python("-m", f"training.train_{framework}", *TINY, "--resume", "--output", tmp_path)
    assert "epoch 1" not in printed
    assert Manifest.read(tmp_path, "").sha256 == Manifest.read(whole[framework], "").sha256


# As a run that is killed in its second epoch: the checkpoint of the first is there, nothing else.
STOP_AFTER_ONE = """
import sys
from training import train_{framework} as twin
twin.finish = lambda *_: None
sys.exit(twin.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_resume_without_a_checkpoint_says_so(framework, tmp_path, run_python):
    printed = run_python("-m", f"training.train_{framework}", "--resume", "--output", tmp_path, code=2)
    assert "to resume from: run without --resume" in printed
    assert "Traceback" not in printed
