"""Means and their intervals against values worked out by hand."""

import numpy as np
import pytest

from camkit.report.intervals import interval, part, share


def test_interval_by_hand():
    """1, 2, 3: mean 2, standard deviation 1, and t at 97.5 % with 2 degrees of freedom is 4.30265."""
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.count) == (2.0, 3)
    assert [found.low, found.high] == pytest.approx([2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5], abs=1e-5)
    assert found.show("{:.1f}") == "2.0 [-0.5, 4.5]"


def test_interval_of_one_value_and_of_none():
    assert interval([]) is None and share([]) is None
    assert (interval([0.3]).low, share([1.0]).high) == (None, None)
    assert interval([0.3]).show("{:.2f}") == "0.30" and not interval([0.3]).clear


def test_interval_of_equal_values_is_shown_as_one_number_without_a_minus_zero():
    assert interval([0.25, 0.25]).show("{:.2f}") == "0.25"
    assert interval([-1e-9, -2e-9]).show("{:.1%}") == "0.0%"
    assert interval([-0.5, -0.5]).show("{:.1f}") == "-0.5"


def test_share_by_hand():
    """Wilson's interval of 0 in 5 ends at z² / (n + z²), z = 1.95996, which is 0.43449; a t interval would be empty."""
    found = share([0.0] * 5)
    assert [found.mean, found.low, found.high] == pytest.approx([0.0, 0.0, 0.43449], abs=1e-4)


def test_parts_of_a_whole_stay_within_it():
    """On the scale of the logit the interval is Student's, t = 4.30265 with two degrees of freedom."""
    found = part([0.05, 0.1, 0.6])
    logit, half = np.log(0.25 / 0.75), 4.30265 * np.std([0.05, 0.1, 0.6], ddof=1) / np.sqrt(3) / (0.25 * 0.75)
    assert [found.low, found.high] == pytest.approx(1 / (1 + np.exp([half - logit, -half - logit])), abs=1e-4)
    assert interval([0.05, 0.1, 0.6]).low < 0 < found.low < found.mean < found.high < 1
    assert part([1.0] * 5) == share([1.0] * 5) and part([1.0] * 5).high == 1 and part([0.3]).low is None
    assert part([]) is None and 0 < part([0.2] * 4).low <= 0.2 <= part([0.2] * 4).high


def test_a_difference_is_clear_only_when_its_interval_leaves_out_zero():
    assert (
        interval([0.1, 0.11, 0.12]).clear and interval([-0.1, -0.11, -0.12]).clear and not interval([-1.0, 1.0]).clear
    )
