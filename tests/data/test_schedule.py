import pytest

from nst_lightning.data.schedule import Level, Schedule, pyramid_sizes, steps_per_level
from nst_lightning.errors import UserError

SCHEDULE = Schedule([Level(6, 8, 3), Level(9, 12, 1), Level(12, 16, 4)])


def crowsonkb_scales(start, end):
    """`gen_scales` of crowsonkb/style-transfer-pytorch, for 1 <= start <= end."""
    scales, scale, i = set(), end, 0
    while scale >= start:
        scales.add(scale)
        i += 1
        scale = round(end / pow(2, i / 2))
    return sorted(scales)


def rows(*levels):
    return [list(level) for level in levels]


def test_sizes_of_512():
    assert pyramid_sizes(512, 128) == [128, 181, 256, 362, 512]


@pytest.mark.parametrize("smallest", [1, 2, 3, 64, 128, 129, 181, 500])
@pytest.mark.parametrize("size", [500, 512, 1000, 1024, 20_000])
def test_sizes_are_crowsonkbs(size, smallest):
    assert pyramid_sizes(size, smallest) == crowsonkb_scales(smallest, size)


@pytest.mark.parametrize("size", [1, 100, 127, 128])
def test_a_size_below_the_smallest_makes_one_level(size):
    assert pyramid_sizes(size, 128) == [size]


@pytest.mark.parametrize(("size", "smallest"), [(0, 128), (-5, 1), (512, 0), (512, -1)])
def test_sizes_below_1(size, smallest):
    with pytest.raises(UserError, match=f"at least 1, but {size} and {smallest}"):
        pyramid_sizes(size, smallest)


@pytest.mark.parametrize(
    ("steps", "first", "expected"),
    [
        (150, None, [150, 150, 150]),
        (150, 300, [300, 150, 150]),
        ([3, 2, 1], None, [3, 2, 1]),
        ((3, 2, 1), 9, [3, 2, 1]),
    ],
)
def test_steps(steps, first, expected):
    assert steps_per_level(steps, first, 3) == expected


@pytest.mark.parametrize(
    ("steps", "first", "said"),
    [
        ([3, 2], None, "lists 2 numbers for 3 levels"),
        ([], None, "lists 0 numbers for 3 levels"),
        (0, None, "at least 1, but 0"),
        (5, 0, "at least 1, but 0"),
        ([4, -2, 1], None, "at least 1, but -2"),
    ],
)
def test_steps_that_do_not_fit(steps, first, said):
    with pytest.raises(UserError, match=said) as caught:
        steps_per_level(steps, first, 3)
    assert "\n" not in str(caught.value)
    if isinstance(steps, int):  # also where the first level, which has its own number, is the only one
        with pytest.raises(UserError, match=said):
            steps_per_level(steps, 5 if first is None else first, 1)


def test_the_level_of_each_step():
    assert SCHEDULE.total_steps == 8
    assert [SCHEDULE.level_at(step) for step in range(8)] == [0, 0, 0, 1, 2, 2, 2, 2]
    assert [SCHEDULE.level_at(start) for start in (0, 3, 4)] == [0, 1, 2]


def test_remaining_work_adds_the_pixels_of_the_steps_to_come():
    for done in range(10):
        levels = [SCHEDULE.levels[SCHEDULE.level_at(step)] for step in range(done, 8)]
        expected = sum(level.height * level.width for level in levels) / (12 * 16)
        assert SCHEDULE.remaining_work(done) == pytest.approx(expected, abs=1e-12)
    assert SCHEDULE.remaining_work(8) == 0


SAME = rows((6, 8, 3), (9, 12, 1), (12, 16, 4))


@pytest.mark.parametrize(
    ("reached", "other"),
    [
        *[(reached, SAME) for reached in range(9)],
        (0, rows((1, 1, 1))),  # nothing is done
        (2, rows((6, 8, 2), (12, 16, 4))),  # its first level is now longer
        (3, rows((6, 8, 30))),  # ... and now shorter, but no shorter than what is done
        (3, rows((6, 8, 3), (5, 5, 5))),
        (4, rows((6, 8, 3), (9, 12, 7))),
        (6, rows((6, 8, 3), (9, 12, 1), (12, 16, 90), (13, 17, 1))),
        (20, rows((6, 8, 3), (9, 12, 1), (12, 16, 90))),  # nothing is left to do
    ],
)
def test_a_schedule_that_differs_only_in_what_is_to_come_is_accepted(reached, other):
    SCHEDULE.check_resumable(reached, other)


@pytest.mark.parametrize(
    ("reached", "other"),
    [
        (1, rows((6, 9, 3), (9, 12, 1), (12, 16, 4))),  # another size
        (1, rows((7, 8, 3))),
        (4, rows((6, 8, 2), (9, 12, 2), (12, 16, 4))),  # another number of steps in a level that is done
        (4, rows((6, 8, 4), (9, 12, 1), (12, 16, 4))),
        (3, rows((6, 8, 2), (9, 12, 1), (12, 16, 4))),  # the other was a level ahead
        (4, rows((6, 8, 3), (9, 13, 1), (12, 16, 4))),
        (5, rows((6, 8, 3), (9, 12, 9))),  # the other was a level behind
        (6, rows((6, 8, 4), (12, 16, 4))),  # another number of levels
        (6, rows((3, 4, 3), (6, 8, 3), (9, 12, 1))),
        (20, rows((6, 8, 3), (9, 12, 1), (13, 16, 90))),
    ],
)
def test_a_schedule_that_differs_in_what_is_done_is_refused(reached, other):
    with pytest.raises(UserError, match=f"first {reached} steps were done at sizes .*without --ckpt_path") as caught:
        SCHEDULE.check_resumable(reached, other)
    assert "8×6: 3, 12×9: 1, 16×12: 4" in str(caught.value)
    assert "\n" not in str(caught.value)
