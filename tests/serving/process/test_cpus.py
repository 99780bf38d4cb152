"""Processors that a process may really use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.process.cpus import available_cpus, cgroup_quota


@pytest.mark.parametrize(("text", "quota"), [("max 100000", None), ("150000 100000", 1.5), ("nonsense", None)])
def test_quota_is_read_from_the_second_cgroup_version(tmp_path: Path, text: str, quota: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert cgroup_quota(tmp_path) == quota


@pytest.mark.parametrize(("us", "quota"), [("-1", None), ("50000", 0.5)])
def test_quota_is_read_from_the_first_cgroup_version(tmp_path: Path, us: str, quota: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(us + "\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cgroup_quota(tmp_path) == quota


def test_available_is_the_smaller_of_affinity_and_quota(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("10000 100000\n")
    assert available_cpus(tmp_path) == 1
