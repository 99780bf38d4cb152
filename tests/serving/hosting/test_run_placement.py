"""Where a run happens: on the event loop only what was short at that size or a larger one."""

from __future__ import annotations

from serving.hosting.run_placement import LONG_RUN_S, RETURN_AFTER, RunPlacement

SHORT_S, LONG_S = LONG_RUN_S / 2, LONG_RUN_S * 2


def test_first_run_is_off_the_loop() -> None:
    assert RunPlacement().in_thread(1)


def test_size_that_was_short_is_on_the_loop_with_all_smaller_ones() -> None:
    placement = RunPlacement()
    placement.ran(100, SHORT_S)
    assert [placement.in_thread(size) for size in (1, 100, 101)] == [False, False, True]


def test_one_long_run_moves_its_size_and_all_larger_ones() -> None:
    placement = RunPlacement()
    placement.ran(1000, SHORT_S)
    placement.ran(500, LONG_S)
    assert [placement.in_thread(size) for size in (499, 500, 1000)] == [False, True, True]


def test_size_returns_after_a_row_of_short_runs() -> None:
    placement = RunPlacement()
    placement.ran(500, LONG_S)
    for _ in range(RETURN_AFTER - 1):
        placement.ran(500, SHORT_S)
    placement.ran(500, LONG_S)  # the row begins again
    for _ in range(RETURN_AFTER - 1):
        placement.ran(500, SHORT_S)
        assert placement.in_thread(500)
    placement.ran(500, SHORT_S)
    assert not placement.in_thread(500)


def test_small_runs_do_not_bring_large_ones_back() -> None:
    placement = RunPlacement()
    placement.ran(500, LONG_S)
    for _ in range(10 * RETURN_AFTER):
        placement.ran(10, SHORT_S)
    assert placement.in_thread(500)
    assert not placement.in_thread(10)


def test_place_can_be_fixed() -> None:
    loop, thread = RunPlacement("loop"), RunPlacement("thread")
    loop.ran(1, LONG_S)
    thread.ran(1, SHORT_S)
    assert (loop.in_thread(1), thread.in_thread(1)) == (False, True)
