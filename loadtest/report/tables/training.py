"""Tables and sentences about training, for a model that this project trained itself."""

from __future__ import annotations

from loadtest.analysis.figures import Estimate
from loadtest.analysis.schema import Report
from loadtest.analysis.training_modes import DistributedRun, InferenceMode, ModeRatio, TrainingModes
from loadtest.report.format import NOT_MEASURED, percent, significant, size
from loadtest.report.tables.points import count_cell, estimate_cell, number_cell
from loadtest.table import Cell, Column, Table, row, without_empty


def training_table(report: Report) -> Table | None:
    """What training each framework's model took and reached."""
    columns = (
        Column("Framework"),
        Column("Epochs", True),
        Column("Seconds", True),
        Column("Parameters", True),
        Column("Test accuracy", True),
    )
    rows = tuple(
        row(
            run.framework,
            count_cell(run.epochs),
            number_cell(run.seconds),
            count_cell(run.parameters),
            Cell(percent(run.test_accuracy), run.test_accuracy),
        )
        for run in report.training
    )
    return without_empty(Table("training", "One network, trained in each framework", columns, rows)) if rows else None


def epochs_table(report: Report) -> Table | None:
    """Training epoch by epoch."""
    columns = (
        Column("Framework"),
        Column("Epoch", True),
        Column("Loss", True),
        Column("Training accuracy", True),
        Column("Test accuracy", True),
        Column("Seconds", True),
    )
    rows = tuple(
        row(
            run.framework,
            count_cell(epoch.epoch),
            number_cell(epoch.loss),
            Cell(percent(epoch.train_accuracy), epoch.train_accuracy),
            Cell(percent(epoch.test_accuracy), epoch.test_accuracy),
            number_cell(epoch.seconds),
        )
        for run in report.training
        for epoch in run.epochs_log
    )
    return Table("epochs", "Epoch by epoch", columns, rows) if rows else None


def modes_words(modes: TrainingModes) -> list[str]:
    """Each framework's fastest mode against its reference loop, and the fastest of both against each other."""
    return [_ratio_words(ratio, modes) for ratio in modes.ratios]


def _ratio_words(ratio: ModeRatio, modes: TrainingModes) -> str:
    low, high = ratio.ratio.low, ratio.ratio.high
    goal = f"{percent(modes.target_accuracy, 0)} test accuracy"
    if low is None or high is None or low <= 1 <= high:
        return f"No difference is seen between {ratio.slower} and {ratio.faster} in the time to {goal}."
    between = f"{significant(low, 2)} to {significant(high, 2)}"
    return f"{ratio.slower} takes {between} times as long as {ratio.faster} to {goal}."


def modes_tables(modes: TrainingModes) -> list[Table]:
    """Training in every mode, on several processes, and inference in process."""
    tables = (_modes(modes), _distributed(modes.distributed), _inference(modes.inference))
    return [without_empty(table) for table in tables if table.rows]


def _modes(modes: TrainingModes) -> Table:
    columns = (
        Column("Mode"),
        Column(f"Seconds to {percent(modes.target_accuracy, 0)}", True),
        Column("Seconds per epoch", True),
        Column("Images/s", True),
        Column("First step, s", True),
        Column("Peak memory", True),
        Column("Test accuracy", True),
    )
    rows = tuple(
        row(
            Cell(mode.name, detail=mode.missing),
            *map(_estimate, (mode.seconds_to_target, mode.seconds_per_epoch, mode.images_per_s, mode.first_step_s)),
            Cell(size(mode.peak_rss_bytes), mode.peak_rss_bytes),
            Cell(percent(mode.test_accuracy), mode.test_accuracy),
        )
        for mode in modes.modes
    )
    return Table("modes", "Training in every execution mode; reference is the loop that tutorials show", columns, rows)


def _estimate(estimate: Estimate | None) -> Cell:
    return estimate_cell(estimate) if estimate else Cell(NOT_MEASURED)


def _distributed(runs: tuple[DistributedRun, ...]) -> Table:
    columns = (
        Column("Framework"),
        Column("Strategy"),
        Column("Processes", True),
        Column("Seconds per epoch", True),
        Column("Test accuracy", True),
        Column("With one process", True),
    )
    rows = tuple(
        row(
            run.framework,
            run.strategy,
            count_cell(run.workers),
            number_cell(run.seconds_per_epoch),
            Cell(percent(run.test_accuracy), run.test_accuracy),
            Cell(percent(run.single_process_accuracy), run.single_process_accuracy),
        )
        for run in runs
    )
    return Table("distributed", "Training on several processes, beside a single one", columns, rows)


def _inference(runs: tuple[InferenceMode, ...]) -> Table:
    columns = (
        Column("Mode"),
        Column("Batch size", True),
        Column("p50, ms", True),
        Column("Samples/s", True),
        Column("First call, s", True),
    )
    rows = tuple(
        row(
            f"{run.framework} {run.mode}",
            count_cell(run.batch_size),
            _estimate(run.latency_p50_ms),
            number_cell(run.samples_per_s),
            number_cell(run.first_s),
        )
        for run in runs
    )
    return Table("inference", "Inference in process, by the frameworks themselves", columns, rows)
