"""Text cells of one published CSV file, and what is refused before any loader looks at them."""

from __future__ import annotations

import pytest

from wearcast.datasets.catalogue import SETS
from wearcast.datasets.published import check_rows, line_of, read_cells
from wearcast.errors import FormatError


def test_cells_are_text_and_empty_ones_are_null():
    table = read_cells(b"\xef\xbb\xbfa; b \r\n1;\r\n 2 ;x\r\n", separator=";", where="file")
    assert table.to_dict(as_series=False) == {"a": ["1", "2"], "b": [None, "x"]}
    assert line_of(1) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file: the file is empty"),
        (b"\xef\xbb\xbf\r\n", "file: the file is empty"),
        (b"a;b\n1;2\n\n3;4\n", "file: line 3: 0 cells, but the header has 2"),
        (b"a;b\n1;2\n" + b"x" * 200_000 + b";2\n", "file: line 3: not CSV: field larger than field limit"),
        (b"a;b\n1;\xe9\n", "file: line 2: byte 0xe9 is not UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_by_line(data, message):
    with pytest.raises(FormatError, match=message):
        read_cells(data, separator=";", where="file")


def test_a_table_without_rows_is_refused():
    with pytest.raises(FormatError, match="there are no rows below the header"):
        check_rows(read_cells(b"a;b\n", separator=";", where="file"), None, where="file")


@pytest.mark.parametrize("declared", SETS, ids=lambda one: one.card.name)
def test_what_a_set_is_loaded_as_carries_the_name_of_its_card(declared):
    for variant in declared.variants:
        assert variant.kind == declared.card.name
        assert variant.name.split("/")[0] == declared.card.name
    assert declared.card.built_in or declared.card.files
