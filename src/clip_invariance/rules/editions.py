"""Editions of the rules, and the only ways to change one: an amendment of a rule, a new pin of the code behind it.

``editions.toml`` freezes an edition by a digest of its registered conditions. A later change leaves the registered
conditions where they are, marks them in ``claims.toml`` with the amendment that took them out (``until``) or put another in
(``since``), and adds an ``[[amendment]]`` that says why and what was known. A change of the code that makes the numbers of
rules adds a ``[[recode]]``. :func:`problems` says what does not fit together; a test demands that nothing does not.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.rules.claims import Claim, Condition
from clip_invariance.rules.code import CODE_FILE, changed_pins, digest_of, pins, read_pins, write_pins
from clip_invariance.rules.history import CLAIM_PATHS, Git, History

EDITIONS_FILE = Path(__file__).with_name("editions.toml")
EDITIONS_PATH = CLAIM_PATHS[0].replace("claims.toml", "editions.toml")

Known = Literal["nothing", "cannot be told", "pilot of these arms", "results"]
Kind = Literal["rule", "falsifier", "words", "code"]
Line = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\n]+$")]
ClaimId = Annotated[str, StringConstraints(pattern=r"^C[0-9]{2}[a-z]?$")]
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]*$")]

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid")


class Edition(BaseModel):
    """One set of rules. ``rules`` is :func:`registered_digest`; "" while the edition is open, and takes rules in."""

    model_config = _STRICT
    number: Annotated[int, Field(ge=1)]
    name: Line
    rules: Hex = ""


class Amendment(BaseModel):
    """A change to something that had been committed.

    Attributes:
        kind: "rule" for conditions, "falsifier" for the sentence that once stood beside them, "words" for a claim's wording,
            "code" for how a number is made.
        commit: the first ten digits; "" until it is committed.
        known: what was known of the arms concerned; ``evidence`` says from where one can tell.
        rules: :func:`in_force_digest` after it; only amendments of the kind "rule" have one.
    """

    model_config = _STRICT
    id: Annotated[str, StringConstraints(pattern=r"^A[0-9]+$")]
    edition: Annotated[int, Field(ge=1)]
    kind: Kind
    claims: Annotated[list[ClaimId], Field(min_length=1)]
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    commit: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{10})?$")]
    what: Line
    reason: Line
    known: Known
    evidence: Line
    rules: Hex = ""


class Recode(BaseModel):
    """New pins of the code that makes the numbers of rules. ``code`` is :func:`code.digest_of` the pins.

    Attributes:
        changed: which pins, "values of chapter 04" and the like, in words.
        unchanged: how it was checked that numbers stay the same, or that they do not and where that is said.
    """

    model_config = _STRICT
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    changed: Line
    reason: Line
    known: Known
    unchanged: Line
    code: Hex


class Editions(BaseModel):
    """``editions.toml``."""

    model_config = _STRICT
    editions: list[Edition] = Field(alias="edition")
    amendments: list[Amendment] = Field(alias="amendment", default=[])
    recodes: list[Recode] = Field(alias="recode", default=[])

    @property
    def commits(self) -> set[str]:
        """The commits that amendments name."""
        return {a.commit for a in self.amendments if a.commit}

    def of(self, claim_id: str) -> list[Amendment]:
        """The amendments that concern a claim, oldest first."""
        return [a for a in self.amendments if claim_id in a.claims]


def read_editions(path: Path | None = None) -> Editions:
    """Read the editions, by default :data:`EDITIONS_FILE`.

    Raises:
        ReportError: naming file and field, if it is missing or malformed.
    """
    path = path or EDITIONS_FILE
    try:
        return Editions.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ReportError(f"{path}: {field}: {first['msg']}") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from None


def registered_digest(claims: Sequence[Claim], edition: int) -> str:
    """Digest of an edition's rules as they were registered; the order of an edition's claims does not count."""
    return _digest(
        [(claim.id, c) for claim in claims for c in claim.conditions if c.edition == edition and not c.since]
    )


def in_force_digest(claims: Sequence[Claim], edition: int) -> str:
    """The same for its rules with all amendments."""
    return _digest(
        [(claim.id, c) for claim in claims for c in claim.conditions if c.edition == edition and not c.until]
    )


def _digest(rules: Sequence[tuple[str, Condition]]) -> str:
    rows = sorted([claim_id, *c.key] for claim_id, c in rules)
    return hashlib.sha256(json.dumps(rows, allow_nan=False).encode()).hexdigest()[:32]


# ---------------------------------------------------------------- what does not fit together


def problems(claims: Sequence[Claim], editions: Editions, recorded: dict[str, str], now: dict[str, str]) -> list[str]:
    """Every way in which rules or their code differ from what the entries vouch for, one line each.

    Args:
        recorded: the pins kept in ``code.json``.
        now: the pins of the code as it is.
    """
    return [*_rule_problems(claims, editions), *_code_problems(editions, recorded, now)]


def _rule_problems(claims: Sequence[Claim], editions: Editions) -> Iterator[str]:
    numbers = {edition.number for edition in editions.editions}
    known = {a.id: a for a in editions.amendments}
    if len(known) != len(editions.amendments):
        yield "two amendments have the same id"
    for claim in claims:
        for c in claim.conditions:
            if c.edition not in numbers:
                yield f"{claim.id}: {c.value} belongs to edition {c.edition}, which editions.toml does not have"
            for mark in filter(None, (c.since, c.until)):
                if mark not in known or claim.id not in known[mark].claims or known[mark].kind != "rule":
                    yield f"{claim.id}: {c.value} names amendment {mark}, which editions.toml does not have for it"
    for edition in editions.editions:
        if not edition.rules:
            continue
        if registered_digest(claims, edition.number) != edition.rules:
            yield (
                f"the registered rules of edition {edition.number} are not those that were frozen: put them back, mark "
                "what is no longer in force with until, and add an amendment"
            )
        sealed = [a.rules for a in editions.amendments if a.edition == edition.number and a.rules]
        if in_force_digest(claims, edition.number) != (sealed[-1] if sealed else edition.rules):
            yield f"the rules in force of edition {edition.number} were changed without an amendment"


def _code_problems(editions: Editions, recorded: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    if changed := changed_pins(recorded, now):
        yield (
            f"the code behind {_some(changed)} changed without an entry: if that is meant, say why with "
            "clip-invariance claims --pin REASON"
        )
    if not editions.recodes or editions.recodes[-1].code != digest_of(recorded):
        yield "code.json is not what the last [[recode]] of editions.toml vouches for"


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def unrecorded(history: History, editions: Editions) -> list[str]:
    """Changes of conditions that git shows and no amendment mentions, one line each."""
    noted = {(claim, a.commit) for a in editions.amendments for claim in a.claims}
    pending = {claim for a in editions.amendments if not a.commit for claim in a.claims}
    return [
        f"{claim_id}: {change.what} in {change.commit} ({change.before or 'nothing'} -> {change.after or 'nothing'})"
        for claim_id, claim in history.claims.items()
        for change in claim.changes
        if change.what.startswith("condition")
        if (claim_id, change.commit) not in noted and claim_id not in pending
    ]


def rewritten(project: Path, editions: Editions) -> list[str]:
    """Entries that some commit had and the file no longer has as they were: an entry is never changed, only added.

    The commit of an amendment may be filled in later.
    """
    git = Git(project)
    blobs = sorted(set(git.blobs([EDITIONS_PATH]).values()))
    present = {_entry(a) for a in editions.amendments} | {_entry(r) for r in editions.recodes}
    lost: list[str] = []
    for content in git.contents(blobs).values():
        past = Editions.model_validate(tomllib.loads(content.decode()))
        entries = [_entry(a) for a in past.amendments] + [_entry(r) for r in past.recodes]
        lost += [entry for entry in entries if entry not in present]
    return sorted(set(lost))


def _entry(entry: Amendment | Recode) -> str:
    return entry.model_dump_json(exclude={"commit"})


# ---------------------------------------------------------------- a new pin


@dataclass(frozen=True)
class Files:
    """Where the record is kept; tests have copies of it."""

    editions: Path = EDITIONS_FILE
    code: Path = CODE_FILE


def pin(claims: Sequence[Claim], reason: str, known: str, unchanged: str, files: Files | None = None) -> list[str]:
    """Record the code as it is and append the ``[[recode]]`` that vouches for it. Returns the names of what changed.

    Args:
        reason: why the code was changed.
        known: what was known of the arms concerned, one of :data:`Known`.
        unchanged: how it was checked that no number of a rule changes, or where it is said that one does.

    Raises:
        UsageError: if one of these is missing, or ``known`` is none of the choices.
        ReportError: if nothing changed.
    """
    files = files or Files()
    if known not in get_args(Known):
        raise UsageError(f"--known is one of: {', '.join(get_args(Known))}")
    if not reason.strip() or not unchanged.strip():
        raise UsageError("a new pin needs its reason and --unchanged: how it was checked that numbers stay the same")
    now = pins(claims)
    recorded = read_pins(files.code) if files.code.exists() else {}
    changed = changed_pins(recorded, now)
    if not changed:
        raise ReportError("nothing to pin: the code behind the rules is as it was recorded")
    entry = {
        "date": date.today().isoformat(),
        "changed": _in_words(changed),
        "reason": reason.strip(),
        "known": known,
        "unchanged": unchanged.strip(),
        "code": digest_of(now),
    }
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
    text = files.editions.read_text(encoding="utf-8").rstrip("\n")
    files.editions.write_text(text + "\n\n[[recode]]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    write_pins(now, files.code)
    return changed


def _in_words(changed: Sequence[str]) -> str:
    """Pins in few words: "shared; chapter 04; 12 values of chapter 04"."""
    whole = [name for name in changed if "." not in name]
    values = [name for name in changed if "." in name]
    chapters = sorted({name.partition(".")[0] for name in values})
    counted = [f"{sum(v.startswith(c) for v in values)} values of chapter {c}" for c in chapters]
    return "; ".join([*whole, *counted])
