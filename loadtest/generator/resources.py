"""What a server's whole process tree has used so far, read from `/proc`: processor, memory, context switches,
throttling.

The tree is the process and all its descendants. On a system without `/proc` only processor time and memory are known
(psutil).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Totals since the start of each process; a difference of two is what a phase used."""

    cpu_s: float
    """User and system time of all processes, and of ended children that were waited for."""
    rss_bytes: int
    """Resident memory now, added up over the processes (shared pages count in each)."""
    peak_rss_bytes: int
    """Each process's own highest resident memory (VmHWM), added up: no sampling, so no peak is missed."""
    context_switches: int | None
    """Voluntary and involuntary, over all live threads."""
    throttled_s: float | None
    """Time that the cgroup's processor quota held it back; None without a quota."""
    processes: int
    threads: int


def usage(pid: int) -> Usage | None:
    """The totals of `pid` and its descendants; None where it has ended."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return None
    parts = [part for process in tree if (part := _of_process(process)) is not None]
    switches = [part[3] for part in parts]
    return Usage(
        cpu_s=sum(part[0] for part in parts),
        rss_bytes=sum(part[1] for part in parts),
        peak_rss_bytes=sum(part[2] for part in parts),
        context_switches=None if None in switches else sum(value or 0 for value in switches),
        throttled_s=_throttled_s(pid),
        processes=len(parts),
        threads=sum(part[4] for part in parts),
    )


def tree_of(pid: int) -> tuple[int, ...]:
    """The processes of `pid` and its descendants; () where it has ended."""
    try:
        root = psutil.Process(pid)
        return (pid, *(process.pid for process in root.children(recursive=True)))
    except psutil.Error:
        return ()


def cpu_clock_s(pids: tuple[int, ...]) -> float:
    """Processor time of these processes so far, to the nanosecond: each has its own clock, clock_getcpuclockid(3).

    Linux's clock ids of other processes are `~pid << 3 | 2`; one that has ended counts as nothing.
    """
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError:
            continue
    return total


def between(before: Usage | None, after: Usage | None) -> dict[str, float | int | None]:
    """What was used from `before` to `after`, as a result has it; all None where either is unknown."""
    if before is None or after is None:
        names = ("cpu_s", "rss_bytes", "peak_rss_bytes", "context_switches", "throttled_s", "processes", "threads")
        return dict.fromkeys(names)

    def gone(early: float | None, late: float | None) -> float | None:
        return None if early is None or late is None else max(0, late - early)

    return {
        "cpu_s": round(after.cpu_s - before.cpu_s, 3),
        "rss_bytes": after.rss_bytes,
        "peak_rss_bytes": after.peak_rss_bytes,
        "context_switches": gone(before.context_switches, after.context_switches),
        "throttled_s": gone(before.throttled_s, after.throttled_s),
        "processes": after.processes,
        "threads": after.threads,
    }


def _of_process(process: psutil.Process) -> tuple[float, int, int, int | None, int] | None:
    folder = PROC / str(process.pid)
    try:
        if not PROC.joinpath("self/stat").exists():
            times = process.cpu_times()
            memory = process.memory_info()
            return times.user + times.system, memory.rss, memory.rss, None, process.num_threads()
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        cpu_s = sum(int(ticks) for ticks in fields[11:15]) / TICKS  # utime, stime, cutime, cstime: proc(5)
        status = _numbers(folder / "status")
        tasks = [_numbers(task / "status") for task in (folder / "task").iterdir()]
    except (OSError, psutil.Error):
        return None  # it ended meanwhile; its parent's cutime has its time
    switches = sum(t.get("voluntary_ctxt_switches", 0) + t.get("nonvoluntary_ctxt_switches", 0) for t in tasks)
    return cpu_s, status.get("VmRSS", 0) * 1024, status.get("VmHWM", 0) * 1024, switches, len(tasks)


def _numbers(path: Path) -> dict[str, int]:
    numbers = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()
        if value and value[0].isdigit():
            numbers[name] = int(value[0])
    return numbers


def _throttled_s(pid: int) -> float | None:
    """Throttled time of the process's cgroup: `cpu.stat` of version 2, or of version 1's cpu controller."""
    try:
        lines = (PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, key, unit = Path("/sys/fs/cgroup") / path.lstrip("/"), "throttled_usec", 1e-6
        elif "cpu" in controllers.split(","):
            folder, key, unit = Path("/sys/fs/cgroup/cpu") / path.lstrip("/"), "throttled_time", 1e-9
        else:
            continue
        if not _has_quota(folder):
            continue
        stat = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        if key in stat:
            return int(stat[key]) * unit
    return None


def _has_quota(folder: Path) -> bool:
    try:
        if (folder / "cpu.max").is_file():
            return not (folder / "cpu.max").read_text().startswith("max")
        return int((folder / "cpu.cfs_quota_us").read_text()) > 0
    except OSError:
        return False
