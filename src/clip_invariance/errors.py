"""The errors a reader may cause. The command line prints each as one line and exits with its code."""

from __future__ import annotations


class ReportError(Exception):
    """A run, a build or a verification failed. The message says what happened and what to do."""

    exit_code = 1


class UsageError(ReportError):
    """Wrong usage or bad input: nothing was started."""

    exit_code = 2
