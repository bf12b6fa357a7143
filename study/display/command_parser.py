"""The parser of every command line of the project."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from study.results.address import hide_secrets


class CommandParser(argparse.ArgumentParser):
    """argparse's parser, whose messages show no secret of an address that was typed.

    It quotes what it cannot use: an option that does not exist, a number that is none.
    """

    _words: tuple[str, ...] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, remembering the words."""
        self._words = tuple(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with 2."""
        super().error(hide_secrets(message, self._words))
