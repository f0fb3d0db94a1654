"""What the words after `nst batch` ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from nst_lightning.errors import UserError, check_choice, user_path
from nst_lightning.images.files import check_output
from nst_lightning.runs.config_files import find_config
from nst_lightning.runs.run_folder import check_name

Match = Literal["product", "pairs"]

_LISTS = ("--contents", "--styles")
_VALUES = ("--match", "--manifest", "--output", "--name", "--contact_sheet")
_FLAGS = ("--keep_checkpoints",)
_REFUSED = {
    "--data.content": "use --contents.",
    "--data.style": "use --styles.",
    "--output.path": "it paints many pictures; use --output FOLDER.",
    "--animation.path": "all runs would write the same file; give it to nst fit.",
    "--print_config": "it has many; give it to nst fit.",
    "--ckpt_path": "a batch that is started again goes on by itself.",
}


@dataclass(frozen=True)
class BatchRequest:
    """A batch.

    Attributes:
        configs: Files of settings that all pairs share.
        base: Further words of `nst fit` that all pairs share.
        contents: As `find_sources` takes them; none for the config's content.
        styles: The same.
        match: `product` for every content with every style, `pairs` for those of the same name.
        manifest: The pairs, in place of contents and styles.
        output: Folder of the pictures.
        name: Of the folder of the runs.
        contact_sheet: Where all pictures are shown side by side, if at all.
        keep_checkpoints: Whether those of finished pairs stay.
    """

    configs: tuple[str, ...]
    base: tuple[str, ...]
    contents: tuple[str, ...]
    styles: tuple[str, ...]
    match: Match
    manifest: Path | None
    output: Path
    name: str
    contact_sheet: Path | None
    keep_checkpoints: bool


def read_batch_request(words: Sequence[str]) -> BatchRequest:
    """Read a command line.

    Args:
        words: After `nst batch`.

    Returns:
        The request, with configs that exist.

    Raises:
        UserError: If an option of the batch itself makes no sense. Options of `nst fit` are not read here.
    """
    own, rest = _split(words)
    configs = tuple(find_config(given) for given in own["--config"] or ["starry.yaml"])
    values = {key: own[key][-1] if own[key] else None for key in _VALUES}
    if values["--manifest"]:
        for key in (*_LISTS, "--match"):
            if own[key]:
                raise UserError(f"--manifest says which pairs there are, so {key} can't be given as well; leave one.")
    match = values["--match"] or "product"
    check_choice(match, ("product", "pairs"), "--match")
    check_name(values["--name"])
    name = values["--name"] or f"{Path(configs[0]).stem}-batch"
    sheet = values["--contact_sheet"]
    if sheet is not None:
        check_output(sheet)
    return BatchRequest(
        configs=configs,
        base=tuple(rest),
        contents=tuple(own["--contents"]),
        styles=tuple(own["--styles"]),
        match=cast(Match, match),
        manifest=None if values["--manifest"] is None else user_path(values["--manifest"]),
        output=user_path(values["--output"] or name),
        name=name,
        contact_sheet=None if sheet is None else user_path(sheet),
        keep_checkpoints=bool(own["--keep_checkpoints"]),
    )


def _split(words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Separate the batch's own options from those of `nst fit`."""
    own: dict[str, list[str]] = {key: [] for key in ("--config", *_LISTS, *_VALUES, *_FLAGS)}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        key, has_value, value = word.partition("=")
        key = "--config" if key == "-c" else key.replace(".init_args", "")
        if key in _REFUSED:
            raise UserError(f"{key} can't be given to a batch: {_REFUSED[key]}")
        if key not in own:
            rest.append(word)
            continue
        values = [value] if has_value else _values(key, queue)
        if key in _FLAGS:
            check_choice(values[0], ("true", "false"), key)
            values = [word for word in values if word == "true"]
        own[key] += values
    return own, rest


def _values(key: str, queue: list[str]) -> list[str]:
    """Take the words that belong to an option off the queue."""
    if key in _FLAGS:
        return ["true"]
    if not queue or queue[0].startswith("--"):
        raise UserError(f"{key} wants a value; see nst batch --help.")
    values = [queue.pop(0)]
    while key in _LISTS and queue and not queue[0].startswith("-"):
        values.append(queue.pop(0))
    return values
