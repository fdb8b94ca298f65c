"""The command line: options and their help. ``Settings`` validates the values, wherever they come from."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bids_mmh.cli.version import PrintVersion
from bids_mmh.errors import ExitCode

LEVELS = ("participant", "group")

_EPILOG = """\
Every option may be written with dashes or underscores, and set in a TOML file by --config-file: there,
  participant-label = ["01", "02"]
The command line overrides the file, the file overrides the defaults. No data are ever sent anywhere.

exit codes (never 0 when an image failed):
"""


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors end with the exit code of the BIDS-Apps execution specification."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit.

        Args:
            message: What is wrong with the command line.
        """
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: error: {message}; see --help.\n")


def parse_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The options that were set, by the names of the fields of ``Settings``, and ``config_file`` if set.

    Raises:
        SystemExit: With code 64 on wrong usage, 17 on an unknown analysis level, 0 after ``--help`` and
            ``--version``.

    Examples:
        >>> arguments = parse_arguments(["bids", "out", "participant", "--participant_label", "01", "02"])
        >>> arguments["analysis_level"], arguments["participant_label"]
        ('participant', ['01', '02'])
        >>> "session_label" in arguments
        False
    """
    parser = build_parser()
    arguments = parser.parse_args(_with_dashes(argv))
    if arguments.analysis_level not in LEVELS:
        message = f"'{arguments.analysis_level}' is not an analysis level: use participant or group"
        parser.exit(ExitCode.UNKNOWN_LEVEL, f"{parser.prog}: error: {message}.\n")
    return vars(arguments)


def _with_dashes(argv: Sequence[str]) -> list[str]:
    """Spell ``--participant_label`` as ``--participant-label``; values stay as they are."""
    spelled = []
    for argument in argv:
        name, equals, value = argument.partition("=")
        spelled.append(f"{name.replace('_', '-')}{equals}{value}" if name.startswith("--") else argument)
    return spelled


def build_parser() -> argparse.ArgumentParser:
    """Build the parser.

    Returns:
        A parser that omits options which are not set, so that a configuration file can set them.
    """
    parser = Parser(
        prog="bids-mmh",
        usage="bids-mmh bids_dir output_dir {participant,group} [options]",
        description="Harmonize multi-site T1w and T2w brain MRI at the image level.",
        epilog=_EPILOG + "\n".join(f"  {code:>3}  {code.meaning}" for code in ExitCode),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bids_dir", type=Path, help="raw BIDS dataset (for group: not read)")
    parser.add_argument("output_dir", type=Path, help="folder of the results; group reads it")
    # Checked after parsing: an unknown level has an exit code of its own.
    parser.add_argument(
        "analysis_level",
        metavar="{participant,group}",
        help="participant: preprocess and harmonize; group: study tables and report from the results",
    )
    for add_options in (
        _add_filters,
        _add_processing,
        _add_preprocessing,
        _add_fitting,
        _add_evaluation,
        _add_resources,
        _add_runs,
        _add_messages,
    ):
        add_options(parser)
    return parser


def _adder(parser: argparse.ArgumentParser, title: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Make two functions that add an option with a value, and a flag, to a group of options."""
    group = parser.add_argument_group(title)

    def switch(name: str, text: str) -> None:
        group.add_argument(name, action="store_true", help=text)

    return group.add_argument, switch


def _add_filters(parser: argparse.ArgumentParser) -> None:
    option, switch = _adder(parser, "which scans")
    option("--participant-label", nargs="+", metavar="LABEL", help="participants, with or without sub-")
    option(
        "--session-label",
        "--session-id",
        nargs="+",
        metavar="LABEL",
        dest="session_label",
        help="sessions, with or without ses-",
    )
    option(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help='JSON that narrows the search, such as {"t1w": {"acquisition": "mprage"}}',
    )
    option("--sequences", nargs="+", metavar="SUFFIX", help="sequences to harmonize (default: T1w T2w)")
    switch("--all-runs", "take every run and acquisition, not the first scan of a sequence only")
    switch("--skip-bids-validation", "do not run the BIDS validator")
    option(
        "--bids-database-dir",
        type=Path,
        metavar="FOLDER",
        help="keep the index of the dataset here for later runs; it is rebuilt when the dataset changes",
    )
    option(
        "--site-from",
        metavar="WHERE",
        help="source of the site of a scan: auto, participants:COLUMN, sessions:COLUMN, scans:COLUMN, "
        "sidecar:FIELD or entity:ses (default: auto, which tries them in this order; sessions count as sites "
        "only where no two of them share scanner fields)",
    )


def _add_processing(parser: argparse.ArgumentParser) -> None:
    option, switch = _adder(parser, "processing")
    option(
        "--model",
        metavar="MODEL",
        help="embedded, the name of a model fitted to this study, or a model folder (default: embedded; for "
        "group: harmonize the remaining scans with it, or start --fit from it)",
    )
    switch("--preproc-only", "preprocess, do not harmonize")
    option(
        "--output-spaces",
        nargs="+",
        metavar="{MNI,native}",
        help="native: also on the voxels of the scan itself; MNI is always written, because group needs it "
        "(default: both)",
    )
    option("--template", metavar="NAME", help="standard space (default: MNI152NLin2009cAsym)")
    option(
        "--outside",
        metavar="{keep,zero}",
        help="what lies outside the brain in native-space results: keep it unchanged, or set it to zero "
        "(default: zero)",
    )
    option("--random-seed", type=int, metavar="N", help="seed of all random numbers (default: 0)")
    switch("--sloppy", "low quality, for testing only")


def _add_preprocessing(parser: argparse.ArgumentParser) -> None:
    option, switch = _adder(parser, "preprocessing")
    option(
        "--skull-strip",
        metavar="{auto,force,skip}",
        help="auto: detect scans that are already stripped; force: strip every scan; skip: take every scan "
        "as stripped (default: auto)",
    )
    option(
        "--preproc-engine",
        metavar="{builtin,deepbet,network,synthstrip,freesurfer}",
        help="program for brain extraction; freesurfer also registers (default: builtin)",
    )
    option(
        "--synthstrip-weights",
        type=Path,
        metavar="FILE",
        help="weights of SynthStrip, synthstrip.1.pt (default: the environment variable BIDS_MMH_SYNTHSTRIP)",
    )
    option(
        "-d",
        "--derivatives",
        nargs="+",
        action="extend",
        metavar="NAME=PATH",
        help="use precomputed derivatives: brain masks, preprocessed images, linear transforms of fMRIPrep, "
        "sMRIPrep, another run of bids-mmh, or your own under BIDS names; may be repeated",
    )
    switch("--no-preproc", "the scans are already in template space: only extract the brain and resample")


def _add_fitting(parser: argparse.ArgumentParser) -> None:
    option, _ = _adder(parser, "group: the study's own model")
    option(
        "--fit",
        metavar="{all,stage1,stage2}",
        help="train a model on the study's preprocessed scans, then harmonize all of them with it. stage1: "
        "to a unified domain of all sites; stage2: fine-tune an existing model to the target site; all: "
        "both. Starts from scratch, or from --model",
    )
    option(
        "--fit-name",
        metavar="NAME",
        help="the model goes to output_dir/models/NAME, where --model NAME finds it (default: study)",
    )
    option("--recipe", type=Path, metavar="FILE", help="training recipe (TOML; default: by the device)")
    option(
        "--split",
        type=Path,
        metavar="TSV",
        help="training, validation and test subjects: columns participant_id, split (default: travelling "
        "subjects and a fifth of the others are test subjects)",
    )
    option(
        "--target-site",
        metavar="{auto,none,NAME}",
        help="site to harmonize to and to compare with; auto: the least variable one (default)",
    )
    option(
        "--min-site-scans",
        type=int,
        metavar="N",
        help="a site with fewer scans of a sequence cannot be the automatic target (default: 3)",
    )


def _add_evaluation(parser: argparse.ArgumentParser) -> None:
    option, switch = _adder(parser, "group: evaluation")
    switch("--no-evaluation", "tables and page from the sidecars only; no image is read")
    option(
        "--evaluation-scans",
        type=int,
        metavar="N",
        help="maximum number of scans of a sequence in the evaluation, a fixed sample; 0: all (default: 120, "
        "or 24 if SynthSeg segments the tissues)",
    )


def _add_resources(parser: argparse.ArgumentParser) -> None:
    option, switch = _adder(parser, "resources")
    option("--device", help="auto, cpu, cuda or cuda:N (default: auto)")
    option(
        "--nprocs", type=int, metavar="N", help="number of parallel processes (default: all available cores)"
    )
    option("--omp-nthreads", type=int, metavar="N", help="threads per process (default: nprocs, up to 8)")
    option("--mem", metavar="SIZE", help="memory limit: 8g, 8.5G, 8000M, 8GiB; a bare number is GB")
    option("--nipype-plugin-file", type=Path, metavar="FILE", help="Nipype plugin configuration (YAML)")
    option("-w", "--work-dir", type=Path, metavar="FOLDER", help="intermediate files (default: ./work)")
    switch("--clean-workdir", "remove the intermediate files of each session that succeeds")
    switch("--stop-on-first-crash", "stop at the first failure instead of processing the other scans")


def _add_runs(parser: argparse.ArgumentParser) -> None:
    option, switch = _adder(parser, "kind of run")
    option("--config-file", type=Path, metavar="FILE", help="TOML file with any of these options")
    switch("--reports-only", "rewrite the reports from existing results")
    switch("--boilerplate-only", "write the methods text and stop")
    switch("--write-graph", "draw the workflow of one session into logs/ (an SVG needs Graphviz)")
    switch("--profile", "record when each step runs and its memory, and draw a chart of the run into logs/")


def _add_messages(parser: argparse.ArgumentParser) -> None:
    option, switch = _adder(parser, "messages")
    option("-v", "--verbose", action="count", help="more messages; twice: all")
    switch("--debug", "print the traceback of an error")
    option(
        "--version",
        action=PrintVersion,
        nargs=0,
        help="print version, model digest and container image, and exit",
    )
