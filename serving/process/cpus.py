"""How many processors this process may really use: its affinity and its control group's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = CGROUP) -> int:
    """Whole processors, at least one: the smaller of affinity and cgroup quota (v2 `cpu.max`, v1 `cpu.cfs_*`)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(cgroup)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def cgroup_quota(cgroup: Path = CGROUP) -> float | None:
    """Processors that the control group grants, or None where it sets no limit."""
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
