"""Readings far from the end are thinned where a time to an event is learnt, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast.target import FaultTarget
from wearcast.training.network_training import _labelled
from wearcast.training.tasks import ClassTask, RulTask, task_for
from wearcast.windows import Preprocessing

CAP = 10.0


def rows_learnt_from(share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are learnt from, and the time left at each row of the fleet."""
    fleet = make_fleet(units=4, cycles=60)
    experiment = make_experiment(max_rul=CAP)
    task = task_for(experiment, fleet)
    preprocessing = Preprocessing.fit(fleet, experiment.features)
    windows = _labelled(fleet, preprocessing, experiment, task, far_share=share).windows
    return windows.rows, fleet.rul()[0]


def test_all_readings_are_learnt_from_unless_asked():
    rows, rul = rows_learnt_from(1.0)
    assert len(rows) == len(rul)


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_so_large_a_share_of_the_far_readings_stays_and_all_of_the_others(share):
    rows, rul = rows_learnt_from(share)
    far = rul >= 1.4 * CAP
    assert set(np.flatnonzero(~far)) <= set(rows)
    assert far[rows].sum() == pytest.approx(share * far.sum(), abs=1)
    assert (np.diff(rows) > 0).all()
    gaps = np.diff(np.flatnonzero(np.isin(np.flatnonzero(far), rows)))
    assert set(gaps) == {round(1 / share)}


def test_a_unit_that_still_runs_beyond_the_cap_is_far():
    experiment = make_experiment(max_rul=CAP)
    task = task_for(experiment, make_fleet(units=3, cycles=40))
    assert isinstance(task, RulTask)
    assert task.far(np.array([0.0, 13.9, 14.0, 60.0])).tolist() == [False, False, True, True]


def test_no_class_is_far():
    experiment = make_experiment()
    task = ClassTask(experiment, FaultTarget(classes=("a", "b"), label="fault"), np.array([0.5, 0.5]))
    assert not task.far(np.array([0, 1, 1])).any()
