"""The ``clip-invariance`` command.

Every command exits 0 on success, 2 on wrong usage or bad input, 1 when a run, a build or a verification failed, and
130 after Ctrl-C. Errors are one line on stderr; ``--debug`` shows the traceback instead.
"""

from __future__ import annotations

import functools
import http.server
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from typer.exceptions import TyperException

from clip_invariance.errors import ReportError, UsageError, printable
from clip_invariance.profiles import PROFILES, get_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clip_invariance.rules.claims import Claim, ClaimRow

# Commands import what they need: papermill, matplotlib and torch take seconds that --help should not.

_PROFILES = "\n\n".join(f"  {p.name:9} {p.seeds:2} seeds  {p.purpose}" for p in PROFILES.values())

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help=f"""Re-run, verify and build the report "Captions Define Invariance".

\b
clip-invariance report                  re-run every chapter, then build the pages from your run
clip-invariance run 3 --profile smoke   a first try of chapter 3, within a minute or so
clip-invariance verify                  your numbers beside the published ones
clip-invariance build && clip-invariance serve
clip-invariance audit --model ViT-B-32 --pretrained openai   the same questions to an encoder of yours
clip-invariance captions train.csv      what a training would see of your captions
clip-invariance store pack carried      finished units for another machine, which merges them

\b
Profiles:
{_PROFILES.replace(chr(10) * 2, chr(10))}

\b
Runs land in _build/run/<profile>/, pages in _build/site/, finished units in _build/store/ (a run that was
stopped goes on where it was). Published results lie in figures/ and change only through `publish`.

Exit codes: 0 done, 1 a run, build or verification failed, 2 wrong usage, 130 Ctrl-C. Errors are one line;
add --debug for the traceback.""",
)

Chapters = Annotated[
    list[str] | None, typer.Argument(metavar="CHAPTER", help="1, 01 or a notebook's name. Default: all chapters.")
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", "-p", help="smoke, quick, standard or full. Default: full with a GPU, else quick."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda. auto takes the GPU if PyTorch finds one.")]
Seeds = Annotated[int, typer.Option(help="Repetitions of every arm, at least 2. 0: as many as the profile says.")]
Jobs = Annotated[int, typer.Option(help="Units at a time on CPU. 0: one per core. On a GPU they run in turn.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another value for a name in the notebook's parameters cell."),
]
Scheduler = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Spread units over the Dask cluster of this scheduler, tcp://HOST:PORT.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for programs.")]
Source = Annotated[str, typer.Option("--from", metavar="SOURCE", help="published, or the profile of one of your runs.")]


@app.command()
def run(
    chapters: Chapters = None,
    profile: Profile = None,
    device: Device = "auto",
    seeds: Seeds = 0,
    jobs: Jobs = 0,
    settings: Settings = None,
    scheduler: Scheduler = "",
) -> None:
    """Execute chapters' notebooks.

    Figures, data and values land in _build/run/<profile>/figures/<chapter>/, the executed notebooks in
    _build/run/<profile>/notebooks/. An earlier run stays until the new one is complete. What was computed before,
    by the same code with the same parameters, is reused.

    \b
    clip-invariance run                        all chapters
    clip-invariance run 1 3 --profile quick    chapters 1 and 3
    clip-invariance run 4 --seeds 5 --jobs 2   other repetitions, two processes
    clip-invariance run --scheduler tcp://head:8786   on a cluster (see "Run it on your cluster")
    """
    for folder in _run(chapters, profile, device, seeds, jobs, settings, scheduler)[1]:
        print(folder)


@app.command()
def build(source: Source = "published") -> None:
    """Build the pages into _build/site/, without running anything.

    \b
    clip-invariance build                published results
    clip-invariance build --from quick   your run at profile quick, laid over the published results
    """
    _build(source)


@app.command()
def pdf(source: Source = "published") -> None:
    """Print the pages as one PDF with a table of contents, and link to it from the site.

    Needs Chromium or Chrome (on Debian and Ubuntu: apt-get install chromium), or its place in $CHROMIUM.

    \b
    clip-invariance pdf                published results
    clip-invariance pdf --from quick   your run at profile quick, laid over the published results
    """
    from clip_invariance.results import find_project
    from clip_invariance.site.pdf import build_pdf

    print(build_pdf(find_project(), source))
    _build(source)


@app.command()
def report(
    chapters: Chapters = None,
    profile: Profile = None,
    device: Device = "auto",
    seeds: Seeds = 0,
    jobs: Jobs = 0,
    settings: Settings = None,
    scheduler: Scheduler = "",
) -> None:
    """Run chapters, then build the pages from that run.

    \b
    clip-invariance report
    clip-invariance report 1 --profile smoke
    """
    name, _ = _run(chapters, profile, device, seeds, jobs, settings, scheduler)
    _build(name)


@app.command()
def verify(
    chapters: Chapters = None,
    profile: Profile = None,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Compare the results in this folder; run nothing.")
    ] = None,
    device: Device = "auto",
    jobs: Jobs = 0,
    as_json: AsJson = False,
) -> None:
    """Set your numbers beside the published ones; exit 1 if one lies outside its tolerance or is missing.

    Takes your run at the profile, after running the published chapters that it lacks. Writes
    _build/run/<profile>/verify.json and, to be read, verify.html beside it. The tolerance is what a re-run with
    three seeds may differ by. What a smaller profile than the published one leaves out does not count.

    \b
    clip-invariance verify --profile quick
    clip-invariance verify --from ~/Downloads/their-run --json
    """
    from clip_invariance.results import complete_folders, find_project, run_folder, select_chapters

    project = find_project()
    if folder and (profile is not None or chapters):
        raise UsageError("verify: --from DIR compares what is in that folder; leave out chapters and --profile")
    notebooks = select_chapters(project, chapters or [])
    if profile is not None:
        get_profile(profile)
    from clip_invariance.report import verify as verification  # takes seconds: after the checks
    from clip_invariance.run.run import Options, default_profile, run_chapters

    if folder:
        comparison, page = verification.verify_folder(project, folder)
    else:
        name = profile or default_profile()
        published = verification.published_chapters(project)
        wanted = {c: n for c, n in notebooks.items() if c in published}
        lacking = wanted.keys() - complete_folders(run_folder(project, name) / "figures").keys()
        if lacking:
            run_chapters(project, {c: n for c, n in wanted.items() if c in lacking}, Options(name, device, jobs=jobs))
        comparison, page = verification.verify_run(project, name, wanted)
    if as_json:
        print(json.dumps(comparison.as_json(), indent=1))
    else:
        _print_table(
            ("value", "published", "yours", "tolerance", "within"),
            [(row.name, *row.printed(), row.outcome) for row in comparison.rows],
        )
        print(verification.score(comparison))
        if verdicts := comparison.verdict_line():
            print(verdicts, *(f"  {ruling}" for ruling in comparison.changed), sep="\n")
        print(page)
    if not comparison.measured:
        raise ReportError("none of the published values is measured in your run: nothing was compared")
    if comparison.outside or comparison.missing:
        raise ReportError(
            f"{comparison.outside} of {comparison.measured} values lie outside their tolerance, "
            f"{comparison.missing} are missing (chance puts one in a thousand outside): {comparison.first_failed()}"
        )


@app.command()
def publish(
    chapters: Chapters = None,
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="Whose run. Default: the largest profile that was run.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Accept a smaller profile, an edited tree or a run changed by options.")
    ] = False,
) -> None:
    """Promote complete runs into figures/ and note them in CHANGELOG.md.

    Refused: files changed after the run, rules of claims.toml changed after the run, profile smoke, figures over
    300 kB; and, unless forced, a smaller profile than the published one, uncommitted code, fewer seeds, --set.

    \b
    clip-invariance publish                        all chapters that were run
    clip-invariance publish 1 --profile standard
    """
    from clip_invariance.report.publish import publish as promote
    from clip_invariance.results import find_project

    for line in promote(find_project(), chapters or [], profile, force):
        print(line.removeprefix("- "))


@app.command()
def claims(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Claims, for instance C27. Default: all.")
    ] = None,
    as_json: AsJson = False,
    source: Source = "published",
    history: Annotated[
        bool,
        typer.Option("--history", help="When rules were registered, changed, and judged how, by the record of git."),
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="With --history: read git anew and keep what it says for the site.")
    ] = False,
    pin: Annotated[
        str, typer.Option(metavar="REASON", help="Record the code behind the rules as it is, and why it was changed.")
    ] = "",
    known: Annotated[
        str, typer.Option(help="With --pin: nothing, cannot be told, pilot of these arms, or results.")
    ] = "results",
    unchanged: Annotated[str, typer.Option(help="With --pin: how it was checked that numbers stay the same.")] = "",
) -> None:
    """Print the claims with their verdicts, or the history of their rules.

    Rules are registered in src/clip_invariance/rules/claims.toml; each verdict follows from published values, or
    with --from from those of your run. A rule that was changed is judged as registered, and then as amended.

    \b
    clip-invariance claims
    clip-invariance claims --from quick --json
    clip-invariance claims --history C27
    """
    from clip_invariance.report.numbers import bounded, in_full
    from clip_invariance.results import find_project, load_results
    from clip_invariance.rules.claims import choose, evaluate, find_value, load_claims

    registered = choose(load_claims(), ids or [])
    if pin:
        from clip_invariance.rules import editions

        for name in editions.pin(load_claims(), pin, known, unchanged):
            print(name)
        return
    if history or write:
        _print_history(registered, as_json, write)
        return
    results = load_results(find_project(), source)
    rows = evaluate(registered, results)
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=1))
        return

    def number(row: ClaimRow) -> str:
        asked = row.decided_by.value if row.decided_by else ""
        value = find_value(results, asked)
        return in_full(bounded(value)) if value else ""

    _print_table(
        ("claim", "verdict", "decided by", "what it says"),
        [(row.claim.id, row.verdict_words, number(row), row.claim.claim) for row in rows],
    )


def _print_history(registered: Sequence[Claim], as_json: bool, write: bool) -> None:
    """Print what happened to the rules of these claims, from the kept record, or from git where it is written anew."""
    from clip_invariance.results import find_project
    from clip_invariance.rules import history as record
    from clip_invariance.rules.editions import read_editions
    from clip_invariance.rules.record import events

    editions = read_editions()
    if write:
        record.write_history(record.from_git(find_project(), editions.commits))
    kept = record.read_history()
    found = {claim.id: events(claim, kept, editions) for claim in registered}
    if as_json:
        print(
            json.dumps(
                {name: [e.as_json() for e in told] for name, told in found.items()}, indent=1, ensure_ascii=False
            )
        )
        return
    for claim in registered:
        print(f"{claim.id}  {claim.claim}")
        for event in found[claim.id]:
            print(f"  {event.when}  {event.commit or 'not committed':10}  {event.kind}: {event.summary}")
            for detail in event.details:
                print(f"      {detail}")
            if event.known:
                print(f"      Known then: {event.known}")
        if not found[claim.id]:
            print("  no rule was ever registered")


@app.command()
def audit(
    model: Annotated[
        str, typer.Option(help="A model that open_clip knows, or local-dir:FOLDER or hf-hub:OWNER/NAME, with weights.")
    ],
    pretrained: Annotated[
        str, typer.Option(help="A tag that open_clip knows, or a file of weights. Not with local-dir: and hf-hub:.")
    ] = "",
    device: Device = "auto",
    scenes: Annotated[
        int, typer.Option(help="Drawn scenes for each repetition and size of the light; half fit probes, half test.")
    ] = 1000,
    seeds: Annotated[int, typer.Option(help="Repetitions with other scenes, at least 2.")] = 5,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results. Default: _build/audit/<model and weights>/ (with a digest, if taken)."
        ),
    ] = None,
) -> None:
    """Measure an encoder of yours as chapter 4 measures its own.

    Does it tell a red light from a green one, somebody crossing from nobody, in words and with labels, on drawn
    dashcam scenes and on photographs, beside the same architecture untrained and raw pixels? Prints the tables and
    writes table.csv, audit.json, audit.md and the figure audit.png. Says first how long it will take.

    \b
    clip-invariance audit --model ViT-B-32 --pretrained openai
    clip-invariance audit --model ViT-B-32-quickgelu --pretrained weights.safetensors --scenes 400
    clip-invariance audit --model local-dir:my-clip --device cuda
    """
    from clip_invariance.audit import audit as auditing

    done = auditing.run(model, pretrained, device=device, scenes=scenes, seeds=seeds, output=output)
    for header, rows in auditing.summary(done.table):
        _print_table(tuple(header), [tuple(row) for row in rows])
        print()
    if done.unwritten:
        raise ReportError(f"{done.unwritten}: the tables above are what was measured; files there are missing")
    print(f"{done.folder / 'audit.md'}\n95 % intervals: half their width after ±; whole in the table")


@app.command()
def serve(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8000) -> None:
    """Serve the built pages on http://localhost:<port>/ until Ctrl-C.

    The pages also open straight from the folder: _build/site/index.html.
    """
    from clip_invariance.results import find_project

    site = find_project() / "_build" / "site"
    if not (site / "index.html").is_file():
        raise ReportError("there is no site yet: build it with `clip-invariance build`")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from None
    with server:
        print(f"http://localhost:{port}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()


@app.command()
def captions(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="CSV, TSV, Parquet, or TXT with a caption a line; or folders."),
    ] = None,
    factors: Annotated[
        Path | None, typer.Option(help="What to look for, a TOML file. Default: light, pedestrian, car, weather.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Pairs in a batch of the training that the captions are for.")] = 1024,
    column: Annotated[
        str | None,
        typer.Option(help="The captions' column; 1, 2, .. without a header line. Default: caption, title or text."),
    ] = None,
    as_json: AsJson = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: one named after file and inputs.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace results made from other inputs in --output.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Print a file of factors to start from.")] = False,
) -> None:
    """Say what a training would see of a data set's captions: what they name, how often, and what that is worth.

    Mention rates of factors and values, what is named together, and the gain of each factor in contrastive loss at your
    batch size with its bounds, which says in which order they are learned. Files may be larger than memory, and packed by
    gzip. Writes captions.csv, captions.json, captions.md and the figure captions.png.

    \b
    clip-invariance captions train.csv --batch 512
    clip-invariance captions --example > factors.toml
    clip-invariance captions cc12m/*.parquet --factors factors.toml --batch 32768 --json
    """
    from clip_invariance.audit.captions import page, run

    if example:
        from clip_invariance.audit.captions.factors import example as text

        print(text(), end="")
        return
    if not files:
        raise UsageError("captions: name at least one file (see --help)")
    done = run.run(files, factors, batch, column=column, output=output, force=force)
    if as_json:
        print(json.dumps(done.record, indent=1))
        return
    for header, rows in (page.factor_rows(done.table), page.value_rows(done.table), page.pair_rows(done.table)):
        _print_table(tuple(header), [tuple(row) for row in rows])
        print()
    print(f"{done.record['captions']:,} captions, {done.record['empty']:,} of them empty\n{page.NO_LAW}")
    print(printable(done.folder / run.PAGE, 10_000))  # named after the file of captions


store = typer.Typer(rich_markup_mode=None, no_args_is_help=False)
app.add_typer(
    store, name="store", help="Carry finished units between machines: `store pack` there, `store merge` here."
)


@store.command()
def pack(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to: units-1.zip, units-2.zip, ... in this folder.")
    ],
    most_files: Annotated[int, typer.Option(help="At most so many files. Default: no limit.")] = 0,
    most_mb: Annotated[float, typer.Option(help="At most so many megabytes in each. Default: all in one file.")] = 0,
) -> None:
    """Pack the finished units of _build/store/ into a few files.

    Where room is short, small units go first: results, which are needed everywhere. Large ones are trained weights, which
    are needed only to measure something new.

    \b
    clip-invariance store pack carried
    clip-invariance store pack carried --most-files 8 --most-mb 16
    """
    from clip_invariance.results import find_project, store_folder
    from clip_invariance.run.packed import pack as packing
    from clip_invariance.run.store import Store

    def note(line: str) -> None:
        print(f"note: {line}", file=sys.stderr)

    done = packing(Store(store_folder(find_project())), folder, most_files, most_mb, note)
    for path in done.files:
        print(path)
    if done.left_out:
        note(f"{done.units} units are packed, {done.left_out} larger ones had no room")


@store.command()
def merge(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders that `store pack` wrote, or files of them.")
    ],
) -> None:
    """Take packed units into _build/store/. They keep their device, versions and times.

    A run takes them as its own wherever it asks for the same computation, by the same source with the same versions:
    merge only what you, or people whom you trust, have computed. Damaged files are refused, and then nothing is merged.
    By default nothing is replaced that is there already.

    \b
    clip-invariance store merge carried
    """
    from clip_invariance.results import find_project, store_folder
    from clip_invariance.run.packed import merge as merging
    from clip_invariance.run.store import Store

    done = merging(Store(store_folder(find_project())), paths)
    print(f"{done.new} units merged, {done.known} were there already")


def _run(
    chapters: list[str] | None,
    profile: str | None,
    device: str,
    seeds: int,
    jobs: int,
    settings: list[str] | None,
    scheduler: str,
) -> tuple[str, list[Path]]:
    from clip_invariance.results import find_project, select_chapters

    project = find_project()
    notebooks = select_chapters(project, chapters or [])
    if profile is not None:
        get_profile(profile)
    from clip_invariance.run.run import Options, default_profile, run_chapters  # takes seconds: after the checks

    extra = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {setting}: write it as name=value")
        if name in extra:
            raise UsageError(f"--set {name} is given twice")
        extra[name] = value
    chosen = profile or ("quick" if device == "cpu" else default_profile())
    options = Options(chosen, device, seeds, jobs, extra, scheduler)
    return options.profile, run_chapters(project, notebooks, options)


def _build(source: str) -> None:
    from clip_invariance.results import find_project
    from clip_invariance.site.build import build_site

    site = build_site(find_project(), source)
    print(f"{site / 'index.html'}\nopen it in a browser, or run `clip-invariance serve`")


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table in which nothing is markup, and no cell has what a terminal would obey."""
    names = (
        Column(name, no_wrap=number == 0, min_width=len(name))
        for number, name in enumerate(printable(name, 10_000) for name in columns)
    )  # what a row is about stays whole
    table = Table(*names, box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    for row in rows:
        table.add_row(*(printable(cell, 10_000) for cell in row))
    Console(emoji=False).print(table, markup=False)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code. ``--debug`` may stand anywhere."""
    asked = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in asked
    try:
        rest = [argument for argument in asked if argument != "--debug"]
        code = app(rest, prog_name="clip-invariance", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except ReportError as error:
        return _failed(str(error), error.exit_code, debug)
    except TyperException as error:
        return _failed(f"{error.format_message()} (see --help)", 2, debug)
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"{where}{error.strerror or error}", 1, debug)
    except Exception as error:
        return _failed(f"{type(error).__name__}: {error} (a bug? --debug shows where)", 1, debug)
    if code == 130:  # Typer turns Ctrl-C into this code
        return _failed("stopped", code, debug=False)
    return code or 0


def _failed(message: str, code: int, debug: bool) -> int:
    """Print one line on stderr, or the traceback before it; names from elsewhere steer no terminal."""
    if debug:
        for line in traceback.format_exc().splitlines():
            print(printable(line, 10_000), file=sys.stderr)
    print(f"clip-invariance: {printable(message, 5000)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
