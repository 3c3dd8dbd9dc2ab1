"""From a notebook to a results folder. Notebooks need only :class:`Chapter`.

==============  ====================================================================
``provenance``  versions, commit, machine
``store``       units of work, each run at most once
``cluster``     units on the workers of a Dask cluster
``progress``    written by the kernel, shown by the command line
``chapter``     what a notebook talks to
``run``         notebooks executed into ``_build/run/<profile>/``
==============  ====================================================================
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clip_invariance.run.chapter import Chapter

__all__ = ["Chapter"]


def __getattr__(name: str) -> object:
    # Chapter pulls in matplotlib, scipy and grimp; `clip-invariance --help` should not wait for them.
    if name == "Chapter":
        from clip_invariance.run.chapter import Chapter

        return Chapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
