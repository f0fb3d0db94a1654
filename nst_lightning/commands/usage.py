"""What `nst sweep --help` says; apart from the command, whose imports take seconds."""

from __future__ import annotations

import textwrap

from nst_lightning.commands.grid import SHORT_NAMES

_NAMES = textwrap.fill(
    ", ".join(f"{short} ({option})" for short, option in SHORT_NAMES.items()),
    width=108,
    initial_indent="  ",
    subsequent_indent="  ",
    break_on_hyphens=False,
)

SWEEP_HELP = f"""\
usage: nst sweep [--config FILE] [--grid.OPTION VALUES ...] [--name NAME] [--jobs N] [options of nst fit]

Paint every combination of some settings, each a run as nst fit makes it, and lay the pictures out on one sheet.

  --config FILE          a config of nst fit, or a sweep file: keys config, options, grid and sheet
  --grid.OPTION VALUES   an axis: an option of nst fit and a list of its values, or a mapping of titles to values;
                         a second axis makes a table
  --name NAME            everything lives in lightning_logs/NAME; the config's name if unset
  --jobs N               runs at a time (1)
  --sheet.size PIXELS    long side of a picture on the sheet (256)
  --sheet.title TEXT     stands above the pictures
  --sheet.steps STEPS    columns are the pictures at these steps; needs --output.every_n_steps
  any option of nst fit  holds for all runs

short names of options:
{_NAMES}

example:
  nst sweep --config configs/starry.yaml --grid.style_weight '[6, 60, 600]' --data.size 256
  nst sweep --grid.style_weight '[6, 60]' --grid.style_layers '{{shallow: [relu1_1], deep: [relu1_1, relu4_1]}}'
  nst sweep --config configs/sweeps/content_layers.yaml --data.content me.jpg --jobs 2

The same command goes on where it was stopped or killed: complete runs are left alone, failed ones are tried again.
Exit code: 0 all runs are complete, 1 some failed, 2 a mistake in what was asked, 130 or 143 stopped.
"""
