"""The diff view of two texts."""

from __future__ import annotations

from loadtest.report.twins import diff_view, pair_lines


def test_pairs_keep_every_line_of_both_sides_in_order():
    left, right = ["a", "b", "c"], ["a", "x", "y", "c"]
    pairs = pair_lines(left, right)
    assert [p.left[1] for p in pairs if p.left] == left
    assert [p.right[1] for p in pairs if p.right] == right
    assert [p.same for p in pairs] == [True, False, False, True]


def test_view_marks_the_words_that_differ_and_escapes_code(tmp_path):
    (tmp_path / "one.py").write_text("import tensorflow\nx = a < b\n")
    (tmp_path / "two.py").write_text("import torch\nx = a < b\n")
    view = diff_view((tmp_path / "one.py", tmp_path / "two.py"))
    assert "<del>tensorflow</del>" in view
    assert "<ins>torch</ins>" in view
    assert "a &lt; b" in view
    assert "1 of 2 lines are the same" in view


def test_view_is_left_out_where_a_script_is_missing(tmp_path):
    assert diff_view((tmp_path / "one.py", tmp_path / "two.py")) is None
