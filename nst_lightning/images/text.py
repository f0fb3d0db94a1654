"""Text in images: wrapped, shortened, and in a font that is on every machine."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from string import ascii_letters, digits, punctuation
from typing import Literal

from PIL import ImageFont
from PIL.ImageDraw import ImageDraw

Align = Literal["left", "center", "right"]

_ASCII = f"{ascii_letters}{digits}{punctuation} "
_GLYPHS = _ASCII + "©«°±´·»‘’“”…‹›⁄™"  # all that the font inside Pillow has
_RAISED = re.compile("[⁰¹²³⁴-⁾ⁱⁿ]+")
_GLYPHS_SPELLED = (  # each glyph with what is written for it
    "×x −- ‐- ‑- –- —- →-> ←<- ↔<-> √sqrt ≤<= ≥>= ≠!= ≈~ ∞inf µu ßss øo ØO æae ÆAE œoe ŒOE łl ŁL ‘' ’' “\" ”\" ·| ⁄/"
)
_SPELLINGS = {pair[0]: pair[1:] for pair in _GLYPHS_SPELLED.split()}


@dataclass(frozen=True)
class TextBlock:
    """Lines that fit a width.

    Attributes:
        lines: Lines from top to bottom; none for an empty text.
        font: Font of all lines.
        align: Side of the block at which each line stands.
    """

    lines: tuple[str, ...]
    font: Font
    align: Align = "left"

    @property
    def width(self) -> int:
        """Width of the longest line in pixels."""
        return max(map(self.font.width, self.lines), default=0)

    @property
    def height(self) -> int:
        """Height from the top of the first line's tallest letter to the foot of the last line's lowest, in pixels."""
        return (len(self.lines) - 1) * self.font.pitch + self.font.height if self.lines else 0

    def draw(self, canvas: ImageDraw, left: int, top: int, color: str) -> None:
        """Draw the lines.

        Args:
            canvas: Pillow's drawing of the image.
            left: Left edge of the block, in pixels.
            top: Top edge of the block, in pixels.
            color: Color as Pillow writes it.
        """
        width = self.width
        for number, line in enumerate(self.lines):
            room = width - self.font.width(line)
            x = left + {"left": 0, "center": room // 2, "right": room}[self.align]
            y = top + number * self.font.pitch - self.font.rise
            canvas.text((x, y), line, fill=color, font=self.font.font)


class Font:
    """The font inside Pillow, Aileron, at one size.

    No font of the system is used, so that a text looks the same on every machine; a Pillow without FreeType has one
    bitmap font of 11 pixels, which then stands for every size. Pillow's version of Aileron has little more than ASCII:
    other letters are spelt with what there is (é as e, α as alpha, × as x, 10⁻³ as 10^-3), and what can't be spelt
    becomes a question mark.

    Args:
        size: Em square in pixels.
    """

    def __init__(self, size: int) -> None:
        try:
            self.font = ImageFont.load_default(size)
            self.glyphs = frozenset(_GLYPHS)
        except ImportError:  # no FreeType
            self.font = ImageFont.load_default()
            self.glyphs = frozenset(_ASCII)
        box = self.font.getbbox(_ASCII)
        self.rise, self.height = ceil(box[1]), ceil(box[3]) - ceil(box[1])
        self.pitch = round(1.15 * self.height)

    def width(self, text: str) -> int:
        """Return the width of one line in pixels."""
        return ceil(max(self.font.getlength(text), self.font.getbbox(text)[2])) if text else 0

    def block(self, text: str, width: int, lines: int, align: Align = "left") -> TextBlock:
        """Return a text broken into lines that fit, of about the same length.

        Lines break between words, and within a word that fits no line. A text that needs more lines than allowed
        loses the middle of the last one to an ellipsis: both ends tell names such as `starry/version_12` apart.

        Args:
            text: Any text; white space separates words.
            width: Largest width of a line in pixels.
            lines: Largest number of lines.
            align: Side of the block at which each line stands.
        """
        words = self._spell(text).split()
        broken = self._wrap(words, width, lines)
        block = TextBlock(broken, self, align)
        while len(broken) == len(block.lines) > 1 and " ".join(broken) == " ".join(words):
            block = TextBlock(broken, self, align)
            broken = self._wrap(words, block.width - 1, lines)
        return block

    def lines(self, texts: Iterable[str], width: int) -> TextBlock:
        """Return texts below each other in the middle, each in one line, shortened if need be."""
        return TextBlock(tuple(self._shorten(self._spell(text), width) for text in texts), self, "center")

    def _wrap(self, words: Sequence[str], width: int, lines: int) -> tuple[str, ...]:
        """Return the lines, each filled before the next."""
        left = list(words)
        broken: list[str] = []
        while left and len(broken) < lines - 1:
            line = left.pop(0)
            while left and self.width(f"{line} {left[0]}") <= width:
                line = f"{line} {left.pop(0)}"
            if self.width(line) > width:
                line, rest = self._break(line, width)
                left.insert(0, rest)
            broken.append(line)
        if left:
            broken.append(self._shorten(" ".join(left), width))
        return tuple(filter(None, broken))

    def _break(self, word: str, width: int) -> tuple[str, str]:
        """Return a word cut where it fills the line, if possible after a mark such as a slash."""
        fitting = max(1, bisect_right(range(1, len(word)), width, key=lambda n: self.width(word[:n])))
        marks = [n for n in range(fitting // 2 + 1, fitting + 1) if word[n - 1] in "/_-.,=:"]
        cut = marks[-1] if marks else fitting
        return word[:cut], word[cut:]

    def _shorten(self, line: str, width: int) -> str:
        """Return a line with as little as possible of its middle replaced by an ellipsis."""
        if self.width(line) <= width:
            return line
        ellipsis = "…" if "…" in self.glyphs else "..."

        def keep(letters: int) -> str:
            tail = letters // 2
            return line[: letters - tail].rstrip() + ellipsis + line[len(line) - tail :].lstrip()

        most = bisect_right(range(len(line)), width, key=lambda letters: self.width(keep(letters))) - 1
        return keep(most) if most >= 0 else ""

    def _spell(self, text: str) -> str:
        """Return a text written with the glyphs there are."""
        if all(char in self.glyphs for char in text):
            return text
        raised = _RAISED.sub(lambda match: "^" + match.group(), unicodedata.normalize("NFC", text))
        return "".join(map(self._spell_letter, raised))

    def _spell_letter(self, char: str) -> str:
        if char in self.glyphs:
            return char
        if char.isspace():
            return " "
        if char in _SPELLINGS:
            return _SPELLINGS[char]
        name = unicodedata.name(char, "")
        for kind, write in (("GREEK SMALL LETTER ", str.lower), ("GREEK CAPITAL LETTER ", str.capitalize)):
            if name.startswith(kind):
                return write(name.removeprefix(kind).split()[0])
        parts = unicodedata.normalize("NFKD", char)
        if parts == char:
            return "" if unicodedata.combining(char) or unicodedata.category(char) == "Cf" else "?"
        return "".join(map(self._spell_letter, parts))
