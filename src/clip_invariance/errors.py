"""The errors a reader may cause. The command line prints each as one line and exits with its code."""

from __future__ import annotations


class ReportError(Exception):
    """A run, a build or a verification failed. The message says what happened and what to do."""

    exit_code = 1


class UsageError(ReportError):
    """Wrong usage or bad input: nothing was started."""

    exit_code = 2


def printable(text: str, most: int = 200) -> str:
    """A name from elsewhere on one line of a terminal: control characters escaped, the middle of a long one left out.

    >>> printable("a\x1b[31m\n")
    'a\\x1b[31m\\n'
    """
    if len(text) > most:
        text = f"{text[: most // 2]}...{text[-(most // 2) :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
