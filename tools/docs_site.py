"""What the documentation's site needs beside MkDocs: commands' help, formulas as MathML, nothing from elsewhere.

`mkdocs.yml` names this file twice: as a hook, and as griffe's extension that reads our docstrings.
"""

from __future__ import annotations

import html
import os
import re
from contextlib import redirect_stdout, suppress
from io import StringIO
from typing import Any
from unittest import mock

from griffe import Extension, Object
from latex2mathml.converter import convert
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from nst_lightning.cli.main import main

_HELP = re.compile(r"^<!-- help:(.*?)-->$", re.MULTILINE)
_SHIM = "https://unpkg.com/iframe-worker/shim"
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
_INLINE_ROLE = re.compile(r":math:`([^`]+)`")
_MATH_BLOCK = re.compile(r"^([ ]*)\.\. math::[ ]*(.*(?:\n\1[ ]+\S.*)*)", re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


def on_page_markdown(text: str, **_: Any) -> str:
    """Replace `<!-- help: COMMAND -->` by what `nst COMMAND --help` says.

    Args:
        text: Markdown of a page.
        **_: Page, config and files, as MkDocs passes them.
    """
    return _HELP.sub(lambda found: f"```text\n{command_help(*found[1].split())}```", text)


def command_help(*command: str) -> str:
    """Return what `nst COMMAND --help` writes, in lines of 100 characters."""
    written = StringIO()
    with mock.patch.dict(os.environ, COLUMNS="100"), redirect_stdout(written), suppress(SystemExit):
        main([*command, "--help"])
    return written.getvalue()


def on_page_content(content: str, **_: Any) -> str:
    """Replace what pymdownx.arithmatex marks as TeX by MathML.

    Args:
        content: HTML of a page's content.
        **_: Page, config and files, as MkDocs passes them.
    """
    return _FORMULA.sub(
        lambda found: convert(html.unescape(found[3]), display="inline" if found[2] == "(" else "block"), content
    )


def on_post_page(output: str, *, page: Page, **_: Any) -> str:
    """Load the script that search needs in a page opened from a folder from the site itself.

    Args:
        output: HTML of a whole page.
        page: The page.
        **_: Config, as MkDocs passes it.
    """
    return output.replace(_SHIM, get_relative_url("iframe_worker.js", page.url))


def on_post_template(output: str, *, template_name: str, **_: Any) -> str:
    """Do the same in the page for addresses that do not exist; only a server shows it, from its root.

    Args:
        output: Content of a file that is no page.
        template_name: Name of the file.
        **_: Config, as MkDocs passes it.
    """
    return output.replace(_SHIM, "/iframe_worker.js") if template_name == "404.html" else output


class SphinxMath(Extension):
    """Reads docstrings with Sphinx's `:math:` and `.. math::`, and with `Example:` over an example."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite an object's docstring in what griffe and Markdown read."""
        del kwargs
        if obj.docstring is not None:
            text = _MATH_BLOCK.sub(r"\1\\[\2\\]", obj.docstring.value)
            text = _INLINE_ROLE.sub(lambda found: rf"\({' '.join(found[1].split())}\)", text)
            obj.docstring.value = _EXAMPLE.sub("Examples:", text)
