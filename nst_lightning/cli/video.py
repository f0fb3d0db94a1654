"""`nst video`: a video by one command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast, get_args

from nst_lightning.cli.options import FIT_OPTION, OptionParser, add_config, add_flag, check_flag, number_from
from nst_lightning.errors import UserError, check_choice, user_path
from nst_lightning.jobs.pictures import path_list
from nst_lightning.utils.streams import write_path

if TYPE_CHECKING:
    from nst_lightning.jobs.video import VideoRequest

_REFUSED = {
    "--data.content": "use --video.",
    "--data.warped": "it is made from the frame before.",
    "--data.warped_guide": "it is made from the frame before.",
    "--output.path": "use --output FILE.",
    "--animation.path": "each frame would write it; give it to nst fit.",
    "--name": "it leaves no runs behind.",
    "--print_config": "give it to nst fit.",
    "--ckpt_path": "a video that is started again goes on by itself.",
}


def run(args: Sequence[str]) -> int:
    """Run `nst video …`.

    Returns:
        0 if the video is written, 1 if a frame could not be painted, 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        UserError: If what is asked for makes no sense, before anything runs, or the video is damaged.
    """
    request = read_video_request(args[1:])
    from nst_lightning.jobs.video import run_video

    code = run_video(request)
    if code == 0:
        write_path(request.output)
    return code


def make_parser() -> OptionParser:
    """Return the parser of the command's own options."""
    parser = OptionParser(
        "video",
        usage="--video FILE --style PAINTINGS [--config FILE] [--output FILE] [options of nst fit]",
        description="""\
Paint a video: the first frame as nst fit does, each later one from the painting before it, moved along with what is
seen; after a cut as the first. Rate, rotation and sound are kept. It needs the extra video
(pip install 'nst-lightning[video]').
"""
        f"{FIT_OPTION}, and holds for all frames; --data.size is the long side of the video.",
        epilog="""\
example:
  nst video --config configs/starry.yaml --video clip.mp4 --style painting.jpg --output painted.mp4
  nst video --video clip.mov --style sample:woodcut --data.size 1024 --temporal_weight 300

The same command goes on where it was stopped or killed.
Exit code: 0 the video is written, 1 a frame could not be painted, 2 a mistake in what was asked,
130, 143 or 129 stopped.
""",
        refused=_REFUSED,
    )
    parser.add_argument("--video", metavar="FILE", help="what is painted")
    parser.add_argument(
        "--style",
        nargs="+",
        action="extend",
        default=[],
        metavar="PAINTINGS",
        help="pictures or sample:NAME; the config's if unset",
    )
    add_config(parser, "a config of nst fit (configs/starry.yaml)")
    parser.add_argument("--output", metavar="FILE", help="what is written (CLIP-painted.mp4)")
    parser.add_argument(
        "--frame_steps", default="40", metavar="N", help="steps of each later frame at each size (%(default)s)"
    )
    parser.add_argument(
        "--frame_lr",
        default="0.3",
        metavar="FACTOR",
        help="their learning rate at the full size over the config's (%(default)s)",
    )
    parser.add_argument(
        "--temporal_weight",
        default="100",
        metavar="W",
        help="how much a later frame keeps to the painting before it: 0 not at all (%(default)s)",
    )
    parser.add_argument(
        "--flow",
        default="auto",
        metavar="METHOD",
        help="how motion is found: raft, a network from torchvision, dis from OpenCV, or auto: raft where its weights "
        "can be had (%(default)s)",
    )
    add_flag(parser, "--keep_frames", "leave the painted frames as pictures in OUTPUT.frames (false)")
    add_flag(parser, "--overwrite", "paint a video anew that is finished (false)")
    return parser


def read_video_request(args: Sequence[str]) -> VideoRequest:
    """Read a command line.

    Args:
        args: Arguments of `nst video`.

    Returns:
        The request, with configs that exist.

    Raises:
        UserError: If an option of the video itself makes no sense. Options of `nst fit` are not read here.
    """
    own, rest = make_parser().split(args)
    from nst_lightning.jobs.video import VideoRequest
    from nst_lightning.runs.config_files import find_config
    from nst_lightning.video.flow import FlowMethod
    from nst_lightning.video.writing import written_suffix

    check_flag(own.keep_frames, "--keep_frames")
    check_flag(own.overwrite, "--overwrite")
    if own.video is None:
        raise UserError("nst video needs --video: the file to be painted, such as --video clip.mp4")
    video = user_path(own.video)
    output = user_path(own.output or f"{video.stem}-painted{written_suffix(video.suffix)}")
    check_choice(own.flow, get_args(FlowMethod), "--flow")
    if own.style and any(arg.partition("=")[0].replace(".init_args", "") == "--data.style" for arg in rest):
        raise UserError("--style and --data.style both name paintings; give one of them.")
    return VideoRequest(
        configs=tuple(find_config(config) for config in own.config or ["starry.yaml"]),
        base=(*rest, *([f"--data.style={path_list(own.style)}"] if own.style else [])),
        video=video,
        output=output,
        frame_steps=int(number_from(own.frame_steps, "--frame_steps", is_whole=True, lowest=1)),
        frame_lr=number_from(own.frame_lr, "--frame_lr", highest=1),
        temporal_weight=number_from(own.temporal_weight, "--temporal_weight", lowest=0),
        flow=cast(FlowMethod, own.flow),
        keep_frames=own.keep_frames[-1:] == ["true"],
        overwrite=own.overwrite[-1:] == ["true"],
    )
