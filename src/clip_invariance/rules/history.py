"""What the repository's own history says about the rules: registered when, changed when, judged how at each publication.

Nothing here is told by hand. :func:`from_git` walks every commit; ``history.json`` keeps what it finds, so that a download
without git shows the same, and a test compares the two. Words of conditions (``reads``, ``name``) may change freely and
are not followed; everything that can move a verdict is.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from clip_invariance.errors import ReportError
from clip_invariance.results import Record, Value, read_record, to_json, write_bytes
from clip_invariance.rules.claims import Condition, State, Verdict, judge

HISTORY_FILE = Path(__file__).with_name("history.json")
#: Where the claims have been kept, newest first.
CLAIM_PATHS = ("src/clip_invariance/rules/claims.toml", "src/clip_invariance/report/claims.toml")
CHAPTERS = ("01", "02", "03", "04", "05", "06")
SIGNIFICANT = 6

CommitId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{10}$")]
What = Literal["condition added", "condition removed", "condition changed", "falsified_when", "claim"]


class Commit(Record):
    """When a commit was made (ISO 8601, with the zone of its author) and its first line."""

    date: str
    subject: str

    @property
    def minute(self) -> str:
        """Date and time to the minute: "2026-11-22 07:36"."""
        return self.date[:16].replace("T", " ")


class Change(Record):
    """One change of a registered claim. A condition is written "essential: 04.c27_kept < 50"."""

    commit: CommitId
    what: What
    before: str
    after: str


class Judged(Record):
    """The verdict of one or more publications in a row that had the same rules and numbers.

    Attributes:
        commits: of the publications, oldest first.
        rule: which of the claim's ``rules`` was valid then.
        states, numbers: for each condition, how it came out, and mean, low, high ([] where there was no result).
    """

    commits: list[CommitId]
    verdict: Verdict
    reason: str
    rule: Annotated[int, Field(ge=0)]
    states: list[State]
    numbers: list[list[float]]


class ClaimHistory(Record):
    """What happened to one claim.

    Attributes:
        registered: the commit that gave it conditions, "" if none did.
        rules: its rule in each form by which results were judged, a text for each condition; first the registered one.
    """

    registered: CommitId | Literal[""]
    rules: list[list[str]]
    changes: list[Change]
    judged: list[Judged]


class History(Record):
    """``history.json``. ``last`` is the newest commit that says anything about a claim."""

    schema_version: Literal[1] = Field(alias="schema")
    last: CommitId | Literal[""]
    commits: dict[CommitId, Commit]
    claims: dict[str, ClaimHistory]


#: The record of claims that have none.
NO_HISTORY = History(schema=1, last="", commits={}, claims={})


def read_history(path: Path | None = None) -> History:
    """Read the recorded history, by default :data:`HISTORY_FILE`.

    Raises:
        ReportError: naming file and field, if it is missing or malformed.
    """
    return read_record(path or HISTORY_FILE, History)


def write_history(history: History, path: Path | None = None) -> None:
    """Keep a history, by default in :data:`HISTORY_FILE`, with the innermost lists in one line each."""
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", _in_one_line, to_json(history).decode())
    write_bytes(path or HISTORY_FILE, text.encode())


def _in_one_line(found: re.Match[str]) -> str:
    return "[" + re.sub(r",\s+", ", ", found[1]) + "]"


def rule_text(condition: Condition) -> str:
    """What decides of a condition: "essential: 04.c27_kept < 50"."""
    return f"{condition.role}: {condition.value} {condition.relation} {condition.threshold:g}"


# ---------------------------------------------------------------- git


class Git:
    """Read-only access to the commits that lead to the one that is checked out."""

    def __init__(self, project: Path) -> None:
        self.project = project

    def run(self, *arguments: str, standard_input: str = "") -> bytes:
        try:
            return subprocess.run(
                ["git", "-C", str(self.project), *arguments],
                input=standard_input.encode(),
                capture_output=True,
                check=True,
            ).stdout
        except FileNotFoundError:
            raise ReportError("the history of the rules is read from git, which is not installed") from None
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip().partition("\n")[0]
            raise ReportError(f"the history of the rules cannot be read from git: {said}") from None

    @cached_property
    def log(self) -> list[tuple[str, tuple[str, ...], Commit]]:
        """Every commit as (id, parents, when), parents before children."""
        lines = self.run("log", "--topo-order", "--reverse", "--format=%H%x09%P%x09%cI%x09%s", "HEAD").decode()
        found = []
        for line in lines.splitlines():
            commit, parents, date, subject = line.split("\t", 3)
            found.append((commit, tuple(parents.split()), Commit(date=date, subject=subject)))
        return found

    def blobs(self, paths: Sequence[str]) -> dict[tuple[str, str], str]:
        """Object ids by commit and path, for those that exist."""
        asked = [(commit, path) for commit, _, _ in self.log for path in paths]
        answers = self.run("cat-file", "--batch-check", standard_input="".join(f"{c}:{p}\n" for c, p in asked)).decode()
        return {
            key: line.split()[0]
            for key, line in zip(asked, answers.splitlines(), strict=True)
            if not line.endswith(" missing")
        }

    def contents(self, ids: Sequence[str]) -> dict[str, bytes]:
        """What objects hold, by id."""
        answer = self.run("cat-file", "--batch", standard_input="".join(f"{i}\n" for i in ids))
        found, at = {}, 0
        for i in ids:
            end = answer.index(b"\n", at)
            size = int(answer[at:end].split()[2])
            found[i] = answer[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return found


def is_up_to_date(recorded: History, project: Path, also: Collection[str] = ()) -> bool:
    """Whether a record has all that git has, but perhaps what the newest commit did: it cannot name itself."""
    return any(recorded == from_git(project, also, without) for without in (False, True))


def has_history(project: Path) -> bool:
    """Whether the project lies in a repository with all of its commits."""
    try:
        git = Git(project)
        top = Path(git.run("rev-parse", "--show-toplevel").decode().strip()).resolve()
        return top == project.resolve() and git.run("rev-parse", "--is-shallow-repository").strip() == b"false"
    except ReportError:
        return False


# ---------------------------------------------------------------- from git to history


@dataclass(frozen=True)
class _Registered:
    """What one version of ``claims.toml`` says about one claim."""

    claim: str
    falsified_when: str
    conditions: tuple[Condition, ...]

    @property
    def rules(self) -> list[tuple[str, str, str, float]]:
        return [c.key for c in self.conditions]


@dataclass
class _Walk:
    """One claim while the commits pass by."""

    registered: str = ""
    rules: list[list[str]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)


def from_git(project: Path, also: Collection[str] = (), without_tip: bool = False) -> History:
    """Compute the history of the rules up to the commit that is checked out.

    A commit changes a claim if it differs in that from every one of its parents. It publishes a chapter if it has the
    values of another run than every one of them; a file that was only written anew is no publication.

    Args:
        also: further commits to look up, for instance those of amendments.
        without_tip: leave out what the newest commit does, as a record kept in that very commit has to.

    Raises:
        ReportError: if git or the repository is missing.
    """
    git = Git(project)
    values = {f"figures/{chapter}/values.json": chapter for chapter in CHAPTERS}
    runs = {path: path.replace("values.json", "run.json") for path in values}
    blobs = git.blobs([*CLAIM_PATHS, *values, *runs.values()])
    contents = git.contents(sorted(set(blobs.values())))
    rules = {
        commit: next((blobs[commit, path] for path in CLAIM_PATHS if (commit, path) in blobs), "")
        for commit, _, _ in git.log
    }
    parsed = {blob: _parse_claims(contents[blob]) for blob in set(rules.values()) if blob}
    parsed[""] = {}
    published = {blob: _parse_values(contents[blob]) for (_, path), blob in blobs.items() if path in values}
    begun = {
        blob: str(json.loads(contents[blob])["started"]) for (_, path), blob in blobs.items() if path in runs.values()
    }

    def started(commit: str, path: str) -> str:
        """When the run began whose values a commit has; "" if it has none."""
        return begun.get(blobs.get((commit, runs[path]), ""), "")

    walks: dict[str, _Walk] = {}
    when = {commit[:10]: date for commit, _, date in git.log}
    order = {commit: i for i, (commit, _, _) in enumerate(git.log)}
    for commit, parents, _ in sorted(git.log, key=lambda entry: (entry[2].date, order[entry[0]])):
        if without_tip and commit == git.log[-1][0]:
            continue
        now = parsed[rules[commit]]
        before = [parsed[rules[parent]] for parent in parents]
        for claim_id, row in now.items():
            _note_rules(walks.setdefault(claim_id, _Walk()), commit[:10], row, [past.get(claim_id) for past in before])
        fresh = {
            chapter
            for path, chapter in values.items()
            if (commit, path) in blobs and all(started(p, path) != started(commit, path) for p in parents)
        }
        if fresh:
            results = {c: published[blobs[commit, p]] for p, c in values.items() if (commit, p) in blobs}
            for claim_id, row in now.items():
                if fresh & {condition.chapter for condition in row.conditions}:
                    _note_verdict(walks[claim_id], commit[:10], row.conditions, results)
    claims = {
        claim_id: ClaimHistory(registered=walk.registered, rules=walk.rules, changes=walk.changes, judged=walk.judged)
        for claim_id, walk in sorted(walks.items())
    }
    named = dict.fromkeys(commit for walk in claims.values() for commit in _commits_of(walk))
    named |= dict.fromkeys(commit for commit in when if commit in also)
    last = max(named, key=lambda c: list(when).index(c), default="")
    return History(schema=1, last=last, commits={c: when[c] for c in named}, claims=claims)


def _commits_of(claim: ClaimHistory) -> Iterator[str]:
    yield from [claim.registered] if claim.registered else []
    yield from (change.commit for change in claim.changes)
    yield from (commit for judged in claim.judged for commit in judged.commits)


def _parse_claims(content: bytes) -> dict[str, _Registered]:
    """Claims of a version of the file, which may have had other fields than it has now."""
    rows = tomllib.loads(content.decode()).get("claim", [])
    return {
        row["id"]: _Registered(
            row["claim"],
            row.get("falsified_when", ""),
            tuple(
                Condition.model_validate({k: v for k, v in c.items() if k in Condition.model_fields})
                for c in row.get("condition", [])
                if not c.get("until")
            ),
        )
        for row in rows
    }


def _parse_values(content: bytes) -> dict[str, Value]:
    return {
        name: Value.model_validate_json(json.dumps({k: v for k, v in entry.items() if k in Value.model_fields}))
        for name, entry in json.loads(content)["values"].items()
    }


def _note_rules(walk: _Walk, commit: str, now: _Registered, before: Sequence[_Registered | None]) -> None:
    """Take down what a commit changed of a claim. What it says before it has conditions is a draft, not a rule."""
    if any(past == now for past in before):
        return
    if not walk.registered:
        if now.conditions:
            walk.registered, walk.rules = commit, [[rule_text(c) for c in now.conditions]]
        return
    past = next((p for p in before if p is not None and p.conditions), None)
    if past is None:  # a side branch of before the registration
        return
    for what in ("claim", "falsified_when"):
        if all(getattr(p, what) != getattr(now, what) for p in before if p is not None):
            walk.changes.append(Change(commit=commit, what=what, before=getattr(past, what), after=getattr(now, what)))
    if all(p.rules != now.rules for p in before if p is not None):
        walk.changes += _changed_conditions(commit, past.conditions, now.conditions)


def _changed_conditions(commit: str, old: Sequence[Condition], new: Sequence[Condition]) -> Iterator[Change]:
    """What was changed, removed and added: conditions on the same value are taken to be one, changed."""
    gone = [c for c in old if rule_text(c) not in {rule_text(n) for n in new}]
    come = [c for c in new if rule_text(c) not in {rule_text(o) for o in old}]
    for condition in gone:
        successor = next((c for c in come if c.value == condition.value), None)
        if successor:
            come.remove(successor)
            yield Change(
                commit=commit, what="condition changed", before=rule_text(condition), after=rule_text(successor)
            )
        else:
            yield Change(commit=commit, what="condition removed", before=rule_text(condition), after="")
    for condition in come:
        yield Change(commit=commit, what="condition added", before="", after=rule_text(condition))


def _note_verdict(
    walk: _Walk, commit: str, conditions: Sequence[Condition], results: Mapping[str, Mapping[str, Value]]
) -> None:
    """Take down how a publication judges a claim by the rules valid then."""
    found = [results.get(c.chapter, {}).get(c.value.partition(".")[2]) for c in conditions]
    judgement = judge(conditions, found)
    if judgement.verdict == "not yet measured":
        return
    rule = [rule_text(c) for c in conditions]
    if rule not in walk.rules:
        walk.rules.append(rule)
    fields: dict[str, Any] = {
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "rule": walk.rules.index(rule),
        "states": list(judgement.states),
        "numbers": [[_short(x) for x in (v.value, v.low, v.high)] if v else [] for v in found],
    }
    last = walk.judged[-1] if walk.judged else None
    same = ("verdict", "rule", "states", "numbers")
    if last and all(getattr(last, name) == fields[name] for name in same):
        walk.judged[-1] = last.model_copy(update={"commits": [*last.commits, commit]})
    else:
        walk.judged.append(Judged(commits=[commit], **fields))


def _short(x: float) -> float:
    return float(f"{x:.{SIGNIFICANT}g}")
