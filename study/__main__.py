"""One command for all others: `mode-study COMMAND ...`, or `python -m study COMMAND ...`.

`mode-study sweep FILE` is the same as `python -m study.sweep FILE`, and so on. A command's module
is imported only when the command is called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from study.display.console import guard_output, say, say_error
from study.results.address import shown_command

COMMANDS = {
    "sweep": ("study.sweep", "run a sweep, or continue it"),
    "submit": ("study.submit", "run a sweep on a Ray cluster, under Slurm or on Kubernetes"),
    "status": ("study.status", "how far a sweep is"),
    "live": ("study.live", "write a page on a running sweep, which needs no server"),
    "rescore": ("study.rescore", "count the modes of trained networks again"),
    "measure": ("study.measure", "measure points that any generator made"),
    "verify": ("study.verify", "run random trials again and compare them with their rows"),
    "seeds": ("study.seeds", "how many more data seeds a finished sweep needs"),
    "merge": ("study.merge", "make one results folder of several"),
    "export": ("study.export", "write results for mlflow, tensorboard, wandb, trackio or as csv"),
    "publish": ("study.publish", "write a results folder as one file for others' tools"),
    "report": ("analysis.report", "figures, tables and one page from a results folder"),
    "compare": ("analysis.compare", "the same statistics for anybody's table"),
    "claims": ("analysis.claims", "look up the numbers of README.md and docs/findings.md"),
    "schema": ("study.schema", "write the JSON schema and the documented fields of sweep files"),
}
_LINES = "\n".join(f"  {name:8}  {what}" for name, (_, what) in COMMANDS.items())
USAGE = f"""usage: mode-study COMMAND ...

{_LINES}

`mode-study --version` prints the version; `mode-study COMMAND --help` lists a command's options.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the project's commands.

    Parameters
    ----------
    argv : sequence of str, optional
        The command's name and its arguments; those of the process by default.

    Returns
    -------
    int
        The command's exit status; 2 if there is no such command.
    """
    guard_output()
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        import importlib

        return int(importlib.import_module(COMMANDS[words[0]][0]).main(words[1:]))
    if words and words[0] in ("-V", "--version"):
        import importlib.metadata

        say(f"mode-study {importlib.metadata.version('mode-coverage-study')}")
        return 0
    if words and words[0] in ("-h", "--help"):
        say(USAGE, end="")
        return 0
    if words:
        import difflib

        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        say_error(f"mode-study: there is no command {shown_command(words[:1])}{hint}\n")
    say_error(USAGE.rstrip())
    return 2


if __name__ == "__main__":
    sys.exit(main())
