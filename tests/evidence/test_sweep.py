"""The sweep of Faster Score-CAM's channels against separate runs."""

import numpy as np
import pytest

import camkit
from camkit.evidence.sweep import sweep


@pytest.mark.parametrize("counts", [None, (1, 3, 4, 7, 12), (2,)])
def test_the_sweep_equals_faster_score_cam_run_by_itself(tiny, noise, counts):
    *_, last = sweep(tiny, noise, 7, counts)
    assert [point.max_n for point in last.points] == list(counts or (1, 2, 5, 10, 12)) and last.complete
    for point in last.points:
        alone = camkit.explain(tiny, noise, ("faster_scorecam",), 7, max_n=point.max_n).cams["faster_scorecam"]
        np.testing.assert_allclose(point.map, alone.map, atol=1e-5)
        assert point.forward_passes == alone.forward_passes
    assert last.points[-1].correlation == pytest.approx(1.0)


def test_the_sweep_ends_at_the_full_score_cam_and_measures_against_it(tiny, noise):
    *_, last = sweep(tiny, noise)
    full = camkit.explain(tiny, noise, ("scorecam",)).cams["scorecam"].map
    np.testing.assert_allclose(last.points[-1].map, full, atol=1e-5)
    first = last.points[0]
    assert first.correlation == pytest.approx(np.corrcoef(first.map.ravel(), full.ravel())[0, 1], abs=1e-4)
    assert [point.seconds for point in last.points] == sorted(point.seconds for point in last.points)


def test_the_sweep_grows_block_by_block_and_can_be_closed(tiny, noise):
    states = list(sweep(tiny, noise))
    assert [len(state.points) for state in states] == sorted(len(state.points) for state in states)
    assert len(states) > 3 and not states[0].complete and states[0].seconds_left > 0 and states[-1].seconds_left == 0
    stream = sweep(tiny, noise)
    next(stream)
    stream.close()
    assert tiny.predict(noise).shape == (1000,)  # nothing is left under way


@pytest.mark.parametrize("counts", [(), (0, 1), (13,)])
def test_the_sweep_refuses_counts_beyond_the_layer(tiny, noise, counts):
    with pytest.raises(ValueError, match="must be whole numbers from 1 to 12"):
        sweep(tiny, noise, counts=counts)
