"""Train a twin on several processes of this machine, without a change to its model code.

PyTorch's workers are started by `torchrun` and average gradients over gloo (DistributedDataParallel). TensorFlow's get
TF_CONFIG and add them up over gRPC (MultiWorkerMirroredStrategy). On a cluster the same variables come from outside:
start `python -m training.train_<framework>` there and leave this module out. Same seed, same global batch: the result
is the one of a single process but for the order of summation.

Reads and writes what the twin does, below `artifacts/mnist/models-distributed/`. A worker that dies ends the run.

    python -m training.distributed tensorflow|pytorch [--workers 2] [the twin's own flags, --resume among them]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from contract import FRAMEWORKS, ROOT, Manifest, StageError
from training.hyperparameters import MODELS, WORKSPACE

FOLDER = WORKSPACE / "models-distributed"
STOP_WITHIN_S = 10
TORCHRUN_REPORT = re.compile(rb"^[WE]\d{4} [\d:.]+ +\d+ ", re.MULTILINE)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.distributed", description=__doc__.split("\n")[0])
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("--workers", type=int, default=2, help="processes; default: %(default)s")
    options, flags = parser.parse_known_args(argv)
    if "--output" not in flags:
        flags += ["--output", str(FOLDER / options.framework)]
    try:
        if options.workers < 1:
            raise StageError(f"--workers {options.workers}: at least 1")
        {"tensorflow": run_tensorflow, "pytorch": run_pytorch}[options.framework](options.workers, flags)
        compare_with_single(options.framework, flags)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run_pytorch(workers: int, flags: list[str]) -> None:
    """Start the workers under torchrun, which ends all when one ends badly."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    reading, writing = os.pipe()
    log = bytearray()
    reader = threading.Thread(target=pass_on, args=(reading, log))
    reader.start()
    try:
        done = subprocess.run(
            [*launch, "-m", "training.train_pytorch", *flags],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": threads},
            stderr=writing,
            check=False,
        )
    finally:
        os.close(writing)
        reader.join()
        os.close(reading)
    if done.returncode:
        raise StageError(f"{reason(log.decode(errors='replace'))}: {remedy('pytorch')}")


def pass_on(descriptor: int, log: bytearray) -> None:
    """Keep what the workers write to stderr and show it, up to torchrun's own report, which `reason` puts in words."""
    shown = 0
    while piece := os.read(descriptor, 1 << 16):
        log += piece
        report = TORCHRUN_REPORT.search(log)
        end = report.start() if report else len(log)
        if end > shown:
            sys.stderr.write(log[shown:end].decode(errors="replace"))
            sys.stderr.flush()
            shown = end


def reason(log: str) -> str:
    """What torchrun's report says of the first worker that failed."""
    root = log.partition("Root Cause")[2]
    rank, code = re.search(r"rank\s*: (\d+)", root), re.search(r"exitcode\s*: (-?\d+)", root)
    if rank is None or code is None:
        lines = log.strip().splitlines()
        return f"the workers failed ({lines[-1].strip() if lines else 'they printed nothing'})"
    return f"worker {rank[1]} {ended(int(code[1]))}"


def run_tensorflow(workers: int, flags: list[str]) -> None:
    """Start the workers, each with its TF_CONFIG, and end all when one ends badly."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    modes = [] if "--mode" in flags else ["--mode", "graph"]
    asyncio.run(run_workers(addresses, [*flags, *modes]))


async def run_workers(addresses: list[str], flags: list[str]) -> None:
    """Run one TensorFlow worker per address; raises StageError as soon as one ends badly."""
    processes = []
    for index in range(len(addresses)):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        command = (sys.executable, "-m", "training.train_tensorflow", *flags)
        env = os.environ | {"TF_CONFIG": json.dumps(config)}
        processes.append(await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=env))
    try:
        running = {asyncio.create_task(process.wait()): rank for rank, process in enumerate(processes)}
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                rank = running.pop(task)
                if task.result():
                    raise StageError(f"worker {rank} {ended(task.result())}: {remedy('tensorflow')}")
    finally:
        await asyncio.gather(*map(stop, processes))


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a worker that still runs."""
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            process.kill()
            await process.wait()


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
    together = Manifest.read(Path(flags[flags.index("--output") + 1]), f"make train-{framework}")
    if not (MODELS / framework / "manifest.json").is_file():
        return
    alone = Manifest.read(MODELS / framework, f"make train-{framework}")
    if alone.training["hyperparameters"] == together.training["hyperparameters"]:
        points = 100 * ((together.test_accuracy or 0) - (alone.test_accuracy or 0))
        print(f"{framework}: {points:+.2f} points against the single process ({alone.test_accuracy:.2%})")


if __name__ == "__main__":
    sys.exit(main())
