"""The parser of the options that are not those of `nst fit`."""

from __future__ import annotations

import argparse

import pytest

from nst_lightning.cli.options import OptionParser, number_from, real, whole
from nst_lightning.errors import UserError


@pytest.fixture
def parser() -> OptionParser:
    made = OptionParser("try", usage="[--name NAME]", description="Try.", refused={"--data.seed": "not today."})
    made.add_argument("--name")
    made.add_argument("--many", nargs="+", action="extend", default=[])
    made.add_argument("--size", type=whole, default=3)
    return made


@pytest.mark.parametrize(
    ("args", "name", "many", "rest"),
    [
        (["--name", "-x", "--many", "a", "b"], "-x", ["a", "b"], []),
        (["--many", "a", "--other=[1, 2]", "b"], None, ["a"], ["--other=[1, 2]", "b"]),
        (["--many", "a", "-o x y", "--name=- z"], "- z", ["a"], ["-o x y"]),
        (["--nam", "x", "--other", "-1", "--name", "-1e-3"], "-1e-3", [], ["--nam", "x", "--other", "-1"]),
        (["--many", "- a b", "c"], None, ["- a b", "c"], []),
    ],
)
def test_own_options_are_told_from_others(
    args: list[str], name: str | None, many: list[str], rest: list[str], parser: OptionParser
) -> None:
    options, others = parser.split(args)
    assert (options.name, options.many, others) == (name, many, rest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--name"], "--name wants a value; see nst try --help."),
        (["--many", "--name", "x"], "--many wants a value; see nst try --help."),
        (["--size", "1.5"], "size: expected int, but 1.5 was given"),
        (["--size", "true"], "size: expected int, but true was given"),
        (["--size", "["], "size: expected int, but [ was given"),
        (["--nmae", "x"], "there is no option --nmae; did you mean --name?"),
        (["--quite-different", "x"], "there is no option --quite"),
        (["stray"], "unrecognized arguments: stray; see nst try --help."),
        (["--data.init_args.seed=3"], "--data.seed can't be given to a try: not today."),
    ],
)
def test_a_mistake_is_one_line(args: list[str], message: str, parser: OptionParser) -> None:
    with pytest.raises(UserError) as caught:
        parser.parse_own(args)
    assert str(caught.value) == message


def test_numbers_are_read_as_fit_reads_them() -> None:
    assert (whole("1_000"), real(".5"), real("1e-3"), real(".inf")) == (1000, 0.5, 1e-3, float("inf"))
    with pytest.raises(argparse.ArgumentTypeError, match="expected float, but ten was given"):
        real("ten")
    assert number_from("3", "--n", is_whole=True, lowest=1) == 3
    with pytest.raises(UserError, match="--n wants a number above 0 and at most 1, but 2 was given"):
        number_from("2", "--n", highest=1)
