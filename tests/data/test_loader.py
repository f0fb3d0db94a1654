import json

import pytest
import torch

from nst_lightning.data.schedule import Level, Schedule
from nst_lightning.data.transfer_batch import StepLoader, TransferBatch
from nst_lightning.errors import UserError

SCHEDULE = Schedule([Level(6, 8, 3), Level(9, 12, 1), Level(12, 16, 4)])
SEQUENCE = [0, 0, 0, 1, 2, 2, 2, 2]


class Maker:
    """Makes batches, and counts."""

    def __init__(self, schedule=SCHEDULE, image=None):
        self.schedule = schedule
        self.image = image
        self.made = []

    def __call__(self, level):
        self.made.append(level)
        return TransferBatch(level, self.schedule, self.image, (self.image,), (1.0,), self.image, "it")


def loader(schedule=SCHEDULE):
    return StepLoader(schedule, Maker(schedule))


def levels(batches):
    return [batch.level for batch in batches]


def test_one_batch_for_each_step():
    steps = loader()
    assert len(steps) == 8
    assert levels(steps) == SEQUENCE


def test_each_level_is_made_once_and_its_first_batch_alone_has_the_images():
    maker = Maker(image=torch.rand(1, 3, 6, 8))
    batches = list(StepLoader(SCHEDULE, maker))
    assert maker.made == [0, 1, 2]
    firsts = [batches[step] for step in (0, 3, 4)]
    assert all(batch.content is batch.initial is batch.styles[0] is maker.image for batch in firsts)
    further = [batch for batch in batches if all(batch is not first for first in firsts)]
    assert len(further) == 5
    assert all(batch.content is batch.initial is None and batch.styles == () for batch in further)
    assert {(batch.digest, batch.style_weights, batch.schedule) for batch in batches} == {("it", (1.0,), SCHEDULE)}


def test_after_the_last_batch_it_starts_anew():
    steps = loader()
    assert levels(steps) == SEQUENCE
    assert steps.state_dict()["step"] == 0
    assert levels(steps) == SEQUENCE


@pytest.mark.parametrize("done", range(9))
def test_it_resumes_after_every_step(done):
    first = loader()
    iterator = iter(first)
    for _ in range(done):
        next(iterator)
    state = json.loads(json.dumps(first.state_dict()))  # plain numbers, whatever writes the checkpoint
    assert state["step"] == done
    maker = Maker()
    second = StepLoader(SCHEDULE, maker)
    second.load_state_dict(state)
    assert levels(second) == SEQUENCE[done:] == levels(iterator)
    assert maker.made == sorted(set(SEQUENCE[done:]))
    assert levels(second) == SEQUENCE  # and the epoch after that is a whole one


def test_asking_for_the_state_changes_nothing():
    steps = loader()
    seen = []
    for batch in steps:
        seen.append(batch.level)
        assert steps.state_dict()["step"] == len(seen)
    assert seen == SEQUENCE


@pytest.mark.parametrize(
    ("later", "remaining"),
    [
        ([Level(6, 8, 3), Level(9, 12, 1)], []),
        ([Level(6, 8, 3), Level(9, 12, 5)], [1, 1, 1, 1]),
        ([Level(6, 8, 3), Level(9, 12, 1), Level(30, 40, 2)], [2, 2]),
    ],
)
def test_a_schedule_that_differs_later_is_accepted(later, remaining):
    state = {"step": 4, "levels": [[level.height, level.width, level.steps] for level in SCHEDULE.levels]}
    resumed = loader(Schedule(later))
    resumed.load_state_dict(state)
    assert levels(resumed) == remaining


def test_a_schedule_that_differs_in_what_is_done_is_refused():
    iterator = iter(first := loader())
    for _ in range(4):
        next(iterator)
    other = loader(Schedule([Level(6, 8, 2), Level(9, 12, 2), Level(12, 16, 4)]))
    with pytest.raises(UserError, match="first 4 steps"):
        other.load_state_dict(first.state_dict())
    assert levels(other) == [0, 0, 1, 1, 2, 2, 2, 2]  # it was left as it was
