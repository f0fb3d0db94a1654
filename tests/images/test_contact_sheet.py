"""Contact sheets: every image where it belongs, and no text on it."""

from __future__ import annotations

import pytest
import torch

from nst_lightning.images.contact_sheet import Cell, contact_sheet
from nst_lightning.images.resize import resize

RED, GREEN, BLUE, YELLOW = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0)
TITLES = {
    "row_titles": ["one", "a second row with a title that needs several lines, or more, or many more than that"],
    "column_titles": ["√(3/4)", "a" * 300, "three (jgpq)"],
    "title": "A title " * 40,
    "corner": [("content", torch.zeros(1, 3, 9, 12)), ("a style with a long name", torch.zeros(1, 3, 12, 9))],
}


def plain(colour, height=48, width=64):
    return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, height, width)


def place(sheet, colour):
    """Return left, top, right and bottom of what has this color, which must be a full rectangle."""
    hit = ((sheet[0] - torch.tensor(colour).view(3, 1, 1)).abs() < 1e-5).all(0)  # resizing rounds
    rows, columns = hit.nonzero(as_tuple=True)
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert hit[top:bottom, left:right].all()
    return left.item(), top.item(), right.item(), bottom.item()


def grid(note=""):
    return [[Cell(plain(RED), note), Cell(plain(GREEN), note)], [Cell(plain(BLUE), note), Cell(plain(YELLOW), note)]]


def test_pictures_stand_in_rows_and_columns():
    sheet = contact_sheet(grid(), cell_size=64)
    red, green, blue, yellow = (place(sheet, colour) for colour in (RED, GREEN, BLUE, YELLOW))
    for left, top, right, bottom in (red, green, blue, yellow):
        assert (right - left, bottom - top) == (64, 48)
    assert red[::2] == blue[::2]
    assert green[::2] == yellow[::2]
    assert red[1::2] == green[1::2]
    assert blue[1::2] == yellow[1::2]
    assert green[0] - red[2] == blue[1] - red[3] > 0  # the same gap both ways
    height, width = sheet.shape[-2:]
    assert red[0] == red[1] == width - green[2] == height - blue[3] > 0  # the same margin all around
    assert (sheet == 1).all(1).sum() == height * width - 4 * 64 * 48


@pytest.mark.parametrize(("height", "width"), [(64, 64), (30, 64), (64, 31), (640, 480), (7, 9), (1, 1), (3, 500)])
def test_aspect_ratio_is_kept_to_a_pixel(height, width):
    tall = Cell(plain(BLUE, 64, 64))
    sheet = contact_sheet([[Cell(plain(RED, height, width)), tall]], cell_size=64)
    left, top, right, bottom = place(sheet, RED)
    scale = 64 / max(height, width)
    assert max(right - left, bottom - top) == 64
    assert abs(right - left - width * scale) <= 1
    assert abs(bottom - top - height * scale) <= 1
    _, tall_top, _, tall_bottom = place(sheet, BLUE)
    assert abs((top + bottom) - (tall_top + tall_bottom)) <= 1  # in the middle of the row


def test_a_picture_is_shown_as_resize_gives_it_not_rounded_to_8_bits():
    noise = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    sheet = contact_sheet([[Cell(plain(RED)), Cell(noise.double().requires_grad_())]], cell_size=64)
    left, top, right, bottom = place(sheet, RED)
    start = sheet.shape[-1] - left - (right - left)
    assert torch.equal(sheet[..., top:bottom, start : start + 64], resize(noise, (48, 64)))


def test_a_narrow_picture_stands_in_the_middle_of_its_column():
    sheet = contact_sheet([[Cell(plain(RED, 64, 20))], [Cell(plain(BLUE, 48, 64))]], cell_size=64)
    red, blue = place(sheet, RED), place(sheet, BLUE)
    assert red[0] + red[2] == blue[0] + blue[2]


def test_no_text_on_a_picture():
    """Titles move the images, but change no pixel of them, nor do they touch the sheet's edge."""
    bare = contact_sheet(grid(), cell_size=64)
    rows = [[*row, Cell(None, "failed")] for row in grid("loss 0.123456789, and much more than fits (jgpq)")]
    sheet = contact_sheet(rows, cell_size=64, **TITLES)
    moved = set()
    for colour in (RED, GREEN, BLUE, YELLOW):
        before, after = place(bare, colour), place(sheet, colour)
        assert (after[2] - after[0], after[3] - after[1]) == (64, 48)
        moved.add((after[0] - before[0], colour in (RED, GREEN) and after[1] - before[1]))
    assert len(moved) == 2  # the upper row went as one, the lower one too, further by the notes
    edge = torch.cat([sheet[..., :3, :].flatten(), sheet[..., -3:, :].flatten(), sheet[..., :, :3].flatten()])
    assert (torch.cat([edge, sheet[..., -3:].flatten()]) == 1).all()


def test_texts_keep_apart():
    """What each text adds to the ink adds up: none is drawn over another."""
    texts = {"title": "A title (jgpq)", "row_titles": TITLES["row_titles"], "column_titles": ["a" * 300, "(jgpq) " * 9]}

    def ink(**options):
        sheet = contact_sheet(grid(), cell_size=64, **options)[0]
        return int(((sheet.amax(0) < 0.9) & (sheet.amax(0) - sheet.amin(0) < 0.1)).sum())

    assert ink() == 0
    assert ink(**texts) == sum(ink(**{name: text}) for name, text in texts.items())


def test_a_row_title_stands_beside_its_row():
    sheet = contact_sheet(grid(), cell_size=64, row_titles=["", "second"])
    left, top, _, bottom = place(sheet, BLUE)
    rows, columns = (sheet[0, :, :, :left] < 0.5).all(0).nonzero(as_tuple=True)
    assert rows.min() >= top
    assert rows.max() < bottom
    assert abs(rows.float().mean() - (top + bottom - 1) / 2) < 4
    assert columns.max() < left - 4


def test_a_long_title_makes_no_sheet_wider():
    usual, long = (contact_sheet(grid(), cell_size=64, title=title) for title in ("Short", "Long " * 100))
    assert usual.shape[-1] == long.shape[-1]
    assert usual.shape[-2] < long.shape[-2] < usual.shape[-2] + 40  # three lines


def test_empty_field_and_ragged_rows():
    sheet = contact_sheet([[Cell(plain(RED)), Cell()], [Cell(plain(BLUE))]], cell_size=64)
    red, blue = place(sheet, RED), place(sheet, BLUE)
    margin = red[0]
    field = sheet[..., red[1] : red[3], -margin - 64 : -margin]
    assert field.unique().numel() == 1
    assert 0.9 < field.unique().item() < 1
    assert (sheet[..., blue[1] : blue[3], blue[2] :] == 1).all()  # nothing where the row has ended


def test_a_note_in_an_empty_field_adds_no_height():
    bare, noted = (contact_sheet([[Cell(plain(RED)), Cell(None, note)]], cell_size=64) for note in ("", "failed"))
    assert bare.shape == noted.shape
    changed = (bare != noted).any(1)[0].nonzero()
    _, top, right, bottom = place(noted, RED)
    assert changed[:, 0].min() >= top
    assert changed[:, 0].max() < bottom
    assert changed[:, 1].min() > right


@pytest.mark.parametrize("options", [{}, {"row_titles": ["one", "two"]}, {"column_titles": ["one", "two"]}])
def test_corner_pictures_stand_left_of_the_grid_and_apart(options):
    orange, violet = (1.0, 0.5, 0.0), (0.5, 0.0, 1.0)
    corner = [("content", plain(orange)), ("style", plain(violet, 64, 48))]
    sheet = contact_sheet(grid(), cell_size=64, corner=corner, **options)
    first, second, red = place(sheet, orange), place(sheet, violet), place(sheet, RED)
    assert max(first[2], second[2]) < red[0]
    assert max(first[2] - first[0], second[3] - second[1]) == round(0.4 * 64)
    if "row_titles" in options:
        assert first[2] < second[0]
        assert max(first[3], second[3]) < red[1]
    else:
        assert first[3] < second[1]
        assert first[1] >= red[1]


@pytest.mark.parametrize("rows", [[], [[]], [[Cell()]], [[Cell(plain(RED))]]])
def test_small_sheets(rows):
    for options in ({}, {"title": "A title"}, {"corner": [("content", plain(GREEN))]}):
        sheet = contact_sheet(rows, cell_size=32, **options)
        assert sheet.shape[:2] == (1, 3)
        assert min(sheet.shape[2:]) >= 16
        assert sheet.dtype == torch.float32
        assert 0 <= sheet.min() <= sheet.max() == 1


def test_the_same_input_gives_the_same_bytes():
    first, second = (contact_sheet([[*row, Cell()] for row in grid("n")], cell_size=64, **TITLES) for _ in range(2))
    assert torch.equal(first, second)


def test_twenty_columns():
    sheet = contact_sheet(
        [[Cell(plain(RED))] * 19 + [Cell(plain(BLUE))]], column_titles=["weight 100"] * 20, cell_size=64
    )
    left, _, right, _ = place(sheet, BLUE)
    assert right - left == 64
    assert sheet.shape[-1] > 20 * 64


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([[Cell(torch.zeros(3, 4, 4))]], {}),
        ([[Cell(torch.zeros(1, 1, 4, 4))]], {}),
        ([[Cell(torch.zeros(1, 3, 0, 4))]], {}),
        ([[Cell()]], {"cell_size": 31}),
        ([[Cell()]], {"row_titles": ["a", "b"]}),
        ([[Cell()]], {"column_titles": ["a", "b"]}),
    ],
)
def test_a_programmers_mistakes_are_value_errors(rows, options):
    with pytest.raises(ValueError, match="expected"):
        contact_sheet(rows, **options)
