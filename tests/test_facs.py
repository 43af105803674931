"""The action units are FACS's own."""

import pytest

from mien.facs import ACTION_UNITS, INTENSITY_LETTERS, action_unit


def test_every_benchmark_action_unit_is_listed():
    bp4d = {1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24}
    disfa = {1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26}
    assert bp4d | disfa <= set(ACTION_UNITS)


def test_columns_are_two_digits_wide_and_unique():
    columns = [unit.column for unit in ACTION_UNITS.values()]
    assert action_unit(1).column == "AU01"
    assert len(set(columns)) == len(columns)


def test_an_unlisted_number_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="no action unit 3 is listed; known: 1, 2, 4"):
        action_unit(3)


def test_intensity_letters_run_from_nothing_to_e():
    assert INTENSITY_LETTERS == ("", "A", "B", "C", "D", "E")
