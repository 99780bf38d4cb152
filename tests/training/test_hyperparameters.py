"""The command line of the twins: every hyperparameter is a flag, nonsense is refused, the twins take the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract import StageError
from training.hyperparameters import Hyperparameters, parse_run
from training.trained import (
    Epoch,
    Workers,
    accuracy,
    check_resumable,
    checkpoint_facts,
    epoch_order,
    share_of,
    should_continue,
)


def test_parse_run_reads_every_hyperparameter():
    argv = "--epochs 3 --batch-size 64 --learning-rate 0.01 --seed 7 --stop-at-accuracy 0.98 --images 1000 --mode b"
    run = parse_run("pytorch", ("a", "b"), argv.split(), None)
    assert run.hyper == Hyperparameters(3, 64, 0.01, 7, 0.98, 1000)
    assert (run.mode, run.resume, run.folder.name) == ("b", False, "pytorch")


def test_the_defaults_are_the_classic_ones():
    run = parse_run("tensorflow", ("graph",), [], None)
    assert (run.hyper.epochs, run.hyper.batch_size, run.hyper.learning_rate) == (2, 32, 0.001)


@pytest.mark.parametrize("flag", ["--epochs 0", "--batch-size -1", "--learning-rate nan", "--stop-at-accuracy 98"])
def test_parse_run_refuses_what_no_run_can_have(flag):
    with pytest.raises(StageError, match=flag.split()[0]):
        parse_run("pytorch", ("eager",), flag.split(), None)


def test_epoch_order_depends_on_seed_and_epoch_alone():
    hyper = Hyperparameters(images=100)
    assert np.array_equal(epoch_order(hyper, 1), epoch_order(hyper, 1))
    assert not np.array_equal(epoch_order(hyper, 1), epoch_order(hyper, 2))
    assert not np.array_equal(epoch_order(hyper, 1), epoch_order(Hyperparameters(images=100, seed=2), 1))
    assert sorted(epoch_order(hyper, 1)) == list(range(100))


def test_share_of_splits_each_batch_between_the_workers():
    order = np.arange(10)
    parts = [share_of(order, 4, Workers(rank, 2)).tolist() for rank in (0, 1)]
    assert parts == [[0, 1, 4, 5, 8], [2, 3, 6, 7, 9]]


def test_share_of_refuses_a_batch_that_cannot_be_split():
    with pytest.raises(StageError, match=r"batches of 32 of 100 images can't be split over 3 workers evenly"):
        share_of(np.arange(100), 32, Workers(0, 3))


def test_should_continue_until_the_epochs_are_done_or_the_accuracy_is_reached():
    hyper = Hyperparameters(epochs=3, stop_at_accuracy=0.98)
    log = [Epoch(1, 0.1, 0.9, 0.97, 1.0)]
    assert should_continue([], hyper)
    assert should_continue(log, hyper)
    assert not should_continue([*log, Epoch(2, 0.1, 0.9, 0.98, 1.0)], hyper)
    assert not should_continue(log * 3, hyper)


def test_a_checkpoint_of_other_hyperparameters_is_refused():
    saved = checkpoint_facts(parse_run("pytorch", ("eager",), [], None), [Epoch(1, 0.1, 0.9, 0.97, 1.0)])
    other = parse_run("pytorch", ("eager",), ["--seed", "2", "--epochs", "5"], None)
    with pytest.raises(StageError, match=r"is of a run with --seed 1: give the same or don't resume"):
        check_resumable(saved, other)
    more_epochs = parse_run("pytorch", ("eager",), ["--epochs", "5", "--output", str(Path("x"))], None)
    assert check_resumable(saved, more_epochs)[0].test_accuracy == 0.97


def test_accuracy_is_the_share_of_right_labels():
    assert accuracy(np.eye(4)[[0, 1, 2, 2]], np.array([0, 1, 2, 3])) == 0.75
