"""Train a twin on several processes of this machine, without a change to its model code.

PyTorch's workers are started by `torchrun` and average gradients over gloo (DistributedDataParallel). TensorFlow's get
TF_CONFIG and add them up over gRPC (MultiWorkerMirroredStrategy). On a cluster the same variables come from outside:
start `python -m training.train_<framework>` there and leave this module out. Same seed, same global batch: the result
is the one of a single process but for the order of summation.

Reads and writes what the twin does, below `artifacts/models-distributed/`. A worker that dies ends the run.

    python -m training.distributed tensorflow|pytorch [--workers 2] [the twin's own flags, --resume among them]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from contract import ARTIFACTS, FRAMEWORKS, MODELS, ROOT, Manifest, StageError

FOLDER = ARTIFACTS / "models-distributed"
STOP_WITHIN_S = 10


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.distributed", description=__doc__.split("\n")[0])
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("--workers", type=int, default=2, help="processes; default: %(default)s")
    given, flags = parser.parse_known_args(argv)
    if "--output" not in flags:
        flags += ["--output", str(FOLDER / given.framework)]
    try:
        if given.workers < 1:
            raise StageError(f"--workers {given.workers}: at least 1")
        {"tensorflow": run_tensorflow, "pytorch": run_pytorch}[given.framework](given.workers, flags)
        compare_with_single(given.framework, flags)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run_pytorch(workers: int, flags: list[str]) -> None:
    """Start the workers under torchrun, which ends all when one ends badly."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    done = subprocess.run(
        [*launch, "-m", "training.train_pytorch", *flags],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": threads, "TORCHELASTIC_ERROR_FILE": os.devnull},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StageError(f"{reason(done.stderr)}: {remedy('pytorch')}")
    sys.stderr.write(done.stderr)


def reason(log: str) -> str:
    """What torchrun's log says of the first worker that failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    facts = dict(line.split(":", 1) for line in lines if line.startswith(("rank", "exitcode", "traceback")))
    if "rank" not in facts:
        return f"the workers failed ({lines[-1] if lines else 'they said nothing'})"
    code = facts.get("exitcode", "").split()[0]
    return f"worker{facts['rank'].split('(')[0]} {ended(int(code))}"


def run_tensorflow(workers: int, flags: list[str]) -> None:
    """Start the workers, each with its TF_CONFIG, and end all when one ends badly."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(addresses, index, flags), daemon=True) for index in range(workers)]
    for process in processes:
        process.start()
    try:
        watch(processes)
    finally:
        stop(processes)


def work(addresses: list[str], index: int, flags: list[str]) -> None:
    """Be one TensorFlow worker."""
    cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    os.environ["TF_CONFIG"] = json.dumps(cluster)
    from training.train_tensorflow import main as train

    modes = [] if "--mode" in flags else ["--mode", "graph"]
    sys.exit(train([*flags, *modes]))


def watch(processes: Sequence[BaseProcess]) -> None:
    """Wait for all workers; raises StageError as soon as one ends badly."""
    running = dict(enumerate(processes))
    while running:
        wait([process.sentinel for process in running.values()])
        for rank, process in list(running.items()):
            if process.exitcode is not None:
                del running[rank]
            if process.exitcode:
                raise StageError(f"worker {rank} {ended(process.exitcode)}: {remedy('tensorflow')}")


def stop(processes: Sequence[BaseProcess]) -> None:
    """End the workers that still run."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(STOP_WITHIN_S)
        if process.is_alive():
            process.kill()
            process.join()


def ended(code: int) -> str:
    """How a process ended, in words; a negative code is a signal."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def remedy(framework: str) -> str:
    """What to do after a worker was lost."""
    return (
        "the others were stopped; go on from the last finished epoch with "
        f"`make train-distributed RESUME=1` (python -m training.distributed {framework} --resume)"
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, on loopback."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def compare_with_single(framework: str, flags: list[str]) -> None:
    """Print the test accuracy beside that of the single process, where there is one of the same hyperparameters."""
    from pathlib import Path

    together = Manifest.read(Path(flags[flags.index("--output") + 1]), f"make train-{framework}")
    if not (MODELS / framework / "manifest.json").is_file():
        return
    alone = Manifest.read(MODELS / framework, f"make train-{framework}")
    if alone.training["hyperparameters"] == together.training["hyperparameters"]:
        points = 100 * ((together.test_accuracy or 0) - (alone.test_accuracy or 0))
        print(f"{framework}: {points:+.2f} points against the single process ({alone.test_accuracy:.2%})")


if __name__ == "__main__":
    sys.exit(main())
