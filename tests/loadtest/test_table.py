"""The one table: Markdown, plain text, columns that hold nothing."""

from __future__ import annotations

from loadtest.table import Cell, Column, Table, of_lines, plain, present, row, to_markdown, to_text, without_empty

TABLE = Table(
    "speeds",
    "Speeds",
    (Column("Name"), Column("Rate", True), Column("Empty")),
    (row("a|b", Cell("1,200", 1200.0, "1,100 to 1,300"), ""),),
    (row("c", Cell("n/a"), ""),),
    note="A note.",
)


def test_markdown_escapes_aligns_and_marks_what_is_not_ranked():
    assert to_markdown(TABLE).splitlines() == [
        "| Name | Rate | Empty |",
        "| --- | ---: | --- |",
        "| a\\|b | 1,200 (1,100 to 1,300) |  |",
        "| c (not ranked) | n/a |  |",
        "",
        "A note.",
    ]


def test_what_is_marked_bad_is_bold_in_markdown():
    table = Table("t", "", (Column("Met"),), (row(Cell("no", mark="bad")), row(Cell("yes", mark="good"))))
    assert to_markdown(table).splitlines()[2:] == ["| **no** |", "| yes |"]


def test_only_what_markdown_would_read_is_escaped():
    assert plain("a_b *c* _d_ <e>\n[f]") == "a_b \\*c\\* \\_d\\_ \\<e\\> \\[f\\]"


def test_text_puts_figures_to_the_right():
    assert to_text(TABLE).splitlines() == [
        "Name             Rate  Empty",
        "----------------------------",
        "a|b             1,200",
        "c (not ranked)    n/a",
    ]


def test_columns_without_a_figure_are_left_out_but_the_head_stays():
    assert [column.name for column in without_empty(TABLE).columns] == ["Name", "Rate"]
    assert [column.name for column in without_empty(Table("t", "", TABLE.columns, (row("", "", ""),))).columns] == [
        "Name"
    ]


def test_tables_without_rows_are_not_present():
    assert present((None, Table("none", "", TABLE.columns, ()), TABLE)) == (TABLE,)


def test_lines_become_a_table_of_words_and_figures():
    table = of_lines(("Server", "Protocol", "Rate"), [("tflite", "grpc", Cell("12", 12.0))], words=2)
    assert to_markdown(table).splitlines() == [
        "| Server | Protocol | Rate |",
        "| --- | --- | ---: |",
        "| tflite | grpc | 12 |",
    ]
