"""`nst predict`: images and videos by a trained network."""

from __future__ import annotations

from collections.abc import Sequence

from nst_lightning.cli.options import OptionParser, add_cluster, cluster_request
from nst_lightning.utils.streams import write_path


def run(args: Sequence[str]) -> int:
    """Run `nst predict …`, and write the path of the one result, or of the folder of several, to standard output.

    Args:
        args: The command's name and its options.

    Returns:
        The exit code, see `run_predict`.

    Raises:
        UserError: If something the user gave can't be used.
        KeyboardInterrupt: If it was interrupted.
    """
    if any(arg.startswith(("--cluster", "--per_job.")) for arg in args):
        own, rest = make_parser().split(args[1:])
        if (cluster := cluster_request(own)) is not None:
            from nst_lightning.jobs.cluster_predict import run_predict_on_cluster

            return run_predict_on_cluster([args[0], *rest], cluster)
    from nst_lightning.runs.predict_command import run_predict

    return run_predict(args, write_path)


def make_parser() -> OptionParser:
    """Return the parser of the options that are not Lightning's."""
    parser = OptionParser(
        "predict",
        usage="--data.images FOLDER --cluster ADDRESS [options]",
        description="Paint pictures in one pass each on a Ray cluster; nst predict --help shows the other options.",
    )
    add_cluster(parser)
    return parser
