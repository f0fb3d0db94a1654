"""What `--help` of sweep, batch, video and app says; apart from the commands, whose imports take seconds."""

from __future__ import annotations

import textwrap

from nst_lightning.jobs.grid import SHORT_NAMES

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
  nst sweep --config configs/starry.yaml --grid.style_weight '[2, 8, 32]' --data.size 256
  nst sweep --grid.style_weight '[6, 60]' --grid.style_layers '{{shallow: [relu1_1], deep: [relu1_1, relu4_1]}}'
  nst sweep --config configs/sweeps/content_layers.yaml --data.content me.jpg --jobs 2

The same command goes on where it was stopped or killed: complete runs are left alone, failed ones are tried again.
Exit code: 0 all runs are complete, 1 some failed, 2 a mistake in what was asked, 130 or 143 stopped.
"""

BATCH_HELP = f"""\
usage: nst batch --contents PLACES --styles PLACES [--config FILE] [--output FOLDER] [options of nst fit]
       nst batch --manifest FILE [--config FILE] [--output FOLDER] [options of nst fit]

Paint many pictures, each as nst fit does, one after another with one start and one encoder.

  --contents PLACES      folders, searched with their subfolders, pictures or sample:NAME; the config's if unset
  --styles PLACES        the same
  --match product        every content with every style: CONTENT_STYLE.png, in the content's subfolder (default)
  --match pairs          contents and styles of the same name in the same subfolder, whatever the suffix: NAME.png;
                         a picture without its partner is refused
  --manifest FILE        instead a CSV file with the columns content, style, and if wanted output and options of
                         nst fit such as data.size or short names; inputs relative to the file, outputs to --output
  --config FILE          a config of nst fit (configs/starry.yaml)
  --output FOLDER        where the pictures and summary.csv are written (NAME)
  --name NAME            the runs live in lightning_logs/NAME; the config's name and -batch if unset
  --contact_sheet FILE   also show all pictures on one sheet, contents down and styles across
  --keep_checkpoints     keep those of finished pairs, to go on with nst fit
  any option of nst fit  holds for all pairs

short names of options:
{_NAMES}

example:
  nst batch --config configs/starry.yaml --contents photos --styles paintings --output painted --data.size 1024
  nst batch --contents photos/*.jpg --styles sample:woodcut --output painted
  torchrun --nproc-per-node 8 --no-python nst batch --manifest pairs.csv --output painted
  srun --ntasks 64 --gpus-per-task 1 nst batch --contents photos --styles paintings --output painted

The same command goes on where it was stopped or killed: complete pairs are left alone, failed ones are tried again.
Processes that are given the same command share the work, however they are started, also on several machines with a
common file system. Files that can't be read are reported and left out.
Exit code: 0 all pairs are complete, 1 some failed, 2 a mistake in what was asked, 130 or 143 stopped.
"""

VIDEO_HELP = """\
usage: nst video --video FILE --style PAINTINGS [--config FILE] [--output FILE] [options of nst fit]

Paint a video: the first frame as nst fit does, each later one from the painting before it, moved along with what is
seen; after a cut as the first. Rate, rotation and sound are kept. It needs the extra video
(pip install 'nst-lightning[video]').

  --video FILE           what is painted
  --style PAINTINGS      pictures or sample:NAME; the config's if unset
  --config FILE          a config of nst fit (configs/starry.yaml)
  --output FILE          what is written (CLIP-painted.mp4)
  --frame_steps N        steps of each later frame at each size (40)
  --frame_lr FACTOR      their learning rate at the full size over the config's (0.3)
  --temporal_weight W    how much a later frame keeps to the painting before it: 0 not at all (100)
  --flow METHOD          how motion is found: raft, a network from torchvision, dis from OpenCV, or auto: raft where
                         its weights can be had (auto)
  --keep_frames true     leave the painted frames as pictures in OUTPUT.frames (false)
  --overwrite true       paint a video anew that is finished (false)
  any option of nst fit  holds for all frames; --data.size is the long side of the video

example:
  nst video --config configs/starry.yaml --video clip.mp4 --style painting.jpg --output painted.mp4
  nst video --video clip.mov --style sample:woodcut --data.size 1024 --temporal_weight 300

The same command goes on where it was stopped or killed.
Exit code: 0 the video is written, 1 a frame could not be painted, 2 a mistake in what was asked, 130 or 143 stopped.
"""

APP_HELP = """\
usage: nst app [--host ADDRESS] [--port NUMBER] [--max_size PIXELS] [--max_pixels N] [--max_upload_mb MB]

Serve a page to play with: drop a photo and a painting, watch the picture grow, stop, go on, download. It needs the
extra app (pip install 'nst-lightning[app]') and no network.

  --host ADDRESS         where to listen (127.0.0.1: this machine only); 0.0.0.0 for the network, where there is no
                         password and no encryption: for strangers put a server before it that has them,
                         and limits for each address
  --port NUMBER          TCP port (7860); 0 for any that is free
  --names NAME ...       host names the page may be asked for by, beside IP addresses and this machine's own names
  --max_size PIXELS      largest long side that can be painted (1024)
  --max_pixels N         most pixels of a picture that is brought (25000000)
  --max_upload_mb MB     largest file that is brought (30)

Each GPU, or else the CPU, paints one picture at a time; the others wait in a queue. A visitor sees only what is the
visitor's own. Everything is in a temporary folder, deleted an hour after its last use and when the page ends.
"""
