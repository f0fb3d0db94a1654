"""Text for images: nothing is wider than its room, no glyph is missing, both ends of a name survive."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from nst_lightning.images.text import Font


@pytest.fixture(params=["FreeType", "bitmap"])
def font(request, monkeypatch):
    """The font at 16 pixels, also as Pillow without FreeType gives it."""
    if request.param == "bitmap":
        load = ImageFont.load_default_imagefont

        def without_freetype(size=None):
            if size is not None:
                raise ImportError("The _imagingft C module is not installed")
            return load()

        monkeypatch.setattr(ImageFont, "load_default", without_freetype)
    return Font(16)


def inked(block):
    """Draw black on white in the middle of much room and give left, top, right and bottom of the ink."""
    canvas = Image.new("L", (1000, 400), 255)
    block.draw(ImageDraw.Draw(canvas), 200, 100, "black")
    rows, columns = np.nonzero(np.asarray(canvas) < 255)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_every_glyph_said_to_be_there_is():
    font = Font(20)
    missing = bytes(font.font.getmask("\uffff"))
    for glyph in font.glyphs - {" "}:
        assert bytes(font.font.getmask(glyph)) != missing, glyph


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("√(3/4) × α/β → 10⁻³", "sqrt(3/4) x alpha/beta -> 10^-3"),
        ("Tübingen, café, Ångström, naı̈ve", "Tubingen, cafe, Angstrom, na?ve"),
        ("Σ −1 ≤ x₂ ≤ 5 µs", "Sigma -1 <= x2 <= 5 us"),
        ("富士 🌊", "?? ?"),
        ("a\u00a0b\tc\u200bd\x00", "a b c" + "d?"),
        ("±5° …", "±5° …"),
    ],
)
def test_missing_glyphs_are_spelt(text, spelt):
    assert " ".join(Font(16).block(text, 1000, 1).lines) == spelt


@pytest.mark.parametrize("align", ["left", "center", "right"])
def test_ink_stays_in_the_block(font, align):
    for width in (20, 60, 150):
        for lines in (1, 2, 3):
            text = "Ångström |Wj(gyqp)| lightning_logs/starry_night/version_12 √2"
            block = font.block(text, width, lines, align)
            assert len(block.lines) <= lines
            assert block.width <= width
            left, top, right, bottom = inked(block)
            assert left >= 199  # a letter may lean out by the pixel that smoothing adds
            assert top >= 100
            assert right <= 201 + block.width
            assert bottom <= 100 + block.height


def test_alignment(font):
    blocks = {
        align: font.block("wwwwwwww i", font.width("wwwwwwww"), 2, align) for align in ("left", "center", "right")
    }
    assert {block.lines for block in blocks.values()} == {("wwwwwwww", "i")}
    long, short = font.width("wwwwwwww"), font.width("i")
    for align, indent in (("left", 0), ("center", (long - short) // 2), ("right", long - short)):
        canvas = Image.new("L", (200, 100), 255)
        blocks[align].draw(ImageDraw.Draw(canvas), 0, 0, "black")
        second = np.asarray(canvas)[font.pitch :]
        assert abs(int(np.nonzero((second < 255).any(0))[0].min()) - indent) <= 2


def test_a_text_that_fits_is_kept_and_lines_are_balanced(font):
    text = "one two three four five six"
    room = font.width("one two three four five")
    assert font.block(text, 1000, 3).lines == (text,)
    assert font.block(text, room, 2).lines == ("one two three", "four five six")


def test_a_name_too_long_keeps_both_ends(font):
    name = "a_very_long_name_of_a_run/version_12"
    (line,) = font.block(name, font.width(name) // 2, 1).lines
    start, end = line.split("…" if "…" in font.glyphs else "...")
    assert name.startswith(start)
    assert name.endswith(end)
    assert min(len(start), len(end)) > 4
    assert font.width(line) > 0.8 * (font.width(name) // 2)


def test_a_name_too_long_for_a_line_breaks_after_a_mark(font):
    block = font.block("lightning_logs/starry_night", font.width("lightning_logs/star"), 3)
    assert block.lines == ("lightning_logs/", "starry_night")


@pytest.mark.parametrize("text", ["", "  \n "])
def test_nothing_takes_no_room(font, text):
    block = font.block(text, 100, 3)
    assert (block.lines, block.width, block.height) == ((), 0, 0)
