"""The errors a reader may cause. The command line prints each as one line and exits with its code."""

from __future__ import annotations

import re
import unicodedata


class ReportError(Exception):
    """A run, a build or a verification failed. The message says what happened and what to do."""

    exit_code = 1


class UsageError(ReportError):
    """Wrong usage or bad input: nothing was started."""

    exit_code = 2


def printable(text: object, most: int = 300) -> str:
    """Text from elsewhere on one line of at most ``most`` characters, for a terminal or a message.

    What a terminal would obey (escapes, marks that turn the direction of writing) is spelled out.

    >>> printable("a\\nb\\x1b[31m")
    'a b\\\\x1b[31m'
    """
    line = re.sub(r"[ \t\r\n\x0b\x0c\x1c-\x1f\x85\u2028\u2029]+", " ", str(text))
    shown = "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode() for c in line
    )
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
