"""`nst batch`: many images by one command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nst_lightning.cli.options import (
    FIT_OPTION,
    OptionParser,
    add_cluster,
    add_config,
    add_flag,
    check_flag,
    cluster_request,
    short_names,
)
from nst_lightning.errors import UserError, check_choice, user_path
from nst_lightning.jobs.processes import pop_launcher_env

if TYPE_CHECKING:
    from nst_lightning.jobs.batch import BatchRequest

_REFUSED = {
    "--data.content": "use --contents.",
    "--data.style": "use --styles.",
    "--output.path": "it paints many pictures; use --output FOLDER.",
    "--animation.path": "all runs would write the same file; give it to nst fit.",
    "--print_config": "it has many; give it to nst fit.",
    "--ckpt_path": "a batch that is started again goes on by itself.",
}


def run(args: Sequence[str]) -> int:
    """Run `nst batch …`.

    Args:
        args: The command's name and its arguments.

    Returns:
        0 if all pairs are complete, 1 if one failed, 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        UserError: If what is asked for makes no sense, before anything runs.
    """
    rank = pop_launcher_env()  # before Lightning is imported, which would see a cluster
    request = read_batch_request(args[1:])
    if request.cluster is not None and rank.index > 0:  # 0 is also the script of sbatch
        raise UserError(
            f"--cluster deals the pairs out itself, and this is another process of {rank.world_size} that a launcher "
            "was to start; start one (srun --ntasks 1)."
        )
    from nst_lightning.jobs.batch import run_batch

    return run_batch(request, rank if request.cluster is None else None)


def make_parser() -> OptionParser:
    """Return the parser of the command's own options."""
    parser = OptionParser(
        "batch",
        usage="--contents PLACES --styles PLACES [--config FILE] [--output FOLDER] [options of nst fit]\n"
        "--manifest FILE [--config FILE] [--output FOLDER] [options of nst fit]",
        description="Paint many pictures, each as nst fit does, one after another with one start and one encoder.\n"
        f"{FIT_OPTION}, and holds for all pairs.",
        epilog=f"""\
short names of options:
{short_names()}

example:
  nst batch --config configs/starry.yaml --contents photos --styles paintings --output painted --data.size 1024
  nst batch --contents photos/*.jpg --styles sample:woodcut --output painted
  torchrun --nproc-per-node 8 --no-python nst batch --manifest pairs.csv --output painted
  srun --ntasks 64 --gpus-per-task 1 nst batch --contents photos --styles paintings --output painted
  nst batch --contents photos --styles paintings --output painted --cluster auto --per_job.gpus 0.5

The same command goes on where it was stopped or killed: complete pairs are left alone, failed ones are tried again.
Processes that are given the same command share the work, however they are started, also on several machines with a
common file system; in a bucket one command at a time owns the runs. Files that can't be read are reported and left out.
Exit code: 0 all pairs are complete, 1 some failed, 2 a mistake in what was asked, 130, 143 or 129 stopped.""",
        refused=_REFUSED,
    )
    places = (
        "folders, searched with their subfolders, pictures, addresses of either (s3://bucket/photos, https://…), or "
    )
    places += "sample:NAME; the config's if unset"
    parser.add_argument("--contents", nargs="+", action="extend", default=[], metavar="PLACES", help=places)
    parser.add_argument("--styles", nargs="+", action="extend", default=[], metavar="PLACES", help="the same")
    parser.add_argument(
        "--match",
        metavar="WAY",
        help="product: every content with every style, CONTENT_STYLE.png in the content's subfolder (default); "
        "pairs: contents and styles of the same name in the same subfolder, whatever the suffix, NAME.png; a picture "
        "without its partner is refused",
    )
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="instead a CSV file with the columns content, style, and if wanted output and options of nst fit such as "
        "data.size or short names; inputs relative to the file, outputs to --output",
    )
    add_config(parser, "a config of nst fit (configs/starry.yaml)")
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="where the pictures and summary.csv are written, s3://bucket/painted too (NAME)",
    )
    parser.add_argument("--name", help="the runs live in lightning_logs/NAME; the config's name and -batch if unset")
    parser.add_argument(
        "--contact_sheet",
        metavar="FILE",
        help="where all pictures are shown on one sheet, contents down and styles across (contact-sheet.png beside "
        "them, if there are several and at most 400)",
    )
    add_cluster(parser)
    add_flag(parser, "--keep_checkpoints", "keep those of finished pairs, to go on with nst fit (false)")
    return parser


def read_batch_request(args: Sequence[str]) -> BatchRequest:
    """Read a command line.

    Args:
        args: Arguments of `nst batch`.

    Returns:
        The request, with configs that exist.

    Raises:
        UserError: If an option of the batch itself makes no sense. Options of `nst fit` are not read here.
    """
    own, rest = make_parser().split(args)
    from nst_lightning.images.files import check_output
    from nst_lightning.jobs.batch import BatchRequest, Match
    from nst_lightning.runs.config_files import find_config
    from nst_lightning.runs.resume import expand_name

    check_flag(own.keep_checkpoints, "--keep_checkpoints")
    configs = tuple(find_config(given) for given in own.config or ["starry.yaml"])
    if own.manifest:
        for key in ("contents", "styles", "match"):
            if vars(own)[key]:
                raise UserError(f"--manifest says which pairs there are, so --{key} can't be given as well; leave one.")
    match = own.match or "product"
    check_choice(match, ("product", "pairs"), "--match")
    name = expand_name(own.name) if own.name else f"{Path(configs[0]).stem}-batch"
    if own.contact_sheet is not None:
        check_output(own.contact_sheet)
    return BatchRequest(
        configs=configs,
        base=tuple(rest),
        contents=tuple(own.contents),
        styles=tuple(own.styles),
        match=cast(Match, match),
        manifest=None if own.manifest is None else user_path(own.manifest),
        output=user_path(own.output or name),
        name=name,
        contact_sheet=None if own.contact_sheet is None else user_path(own.contact_sheet),
        keep_checkpoints="true" in own.keep_checkpoints,
        cluster=cluster_request(own),
    )
