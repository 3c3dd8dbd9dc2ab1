"""No rule, and no code behind its number, changes silently; the record of the rules is what git says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.results import Value
from clip_invariance.rules import claims as claims_module
from clip_invariance.rules.claims import CLAIMS_FILE, Claim, Condition, falsifier, load_claims
from clip_invariance.rules.code import PACKAGE, changed_pins, pins, read_pins
from clip_invariance.rules.editions import (
    EDITIONS_FILE,
    Editions,
    Files,
    in_force_digest,
    pin,
    problems,
    read_editions,
    registered_digest,
    rewritten,
    unrecorded,
)
from clip_invariance.rules.history import (
    CLAIM_PATHS,
    from_git,
    has_history,
    is_up_to_date,
    read_history,
    rule_text,
    write_history,
)
from clip_invariance.rules.record import events
from results_fixture import value

PROJECT = Path(__file__).resolve().parents[1]
RENEW = "run clip-invariance claims --history --write, and commit what it wrote"

needs_history = pytest.mark.skipif(not has_history(PROJECT), reason="this copy has no git history, or not all of it")


# ---------------------------------------------------------------- the record as it is


def test_rules_and_their_code_are_what_the_entries_vouch_for() -> None:
    claims = load_claims()
    assert problems(claims, read_editions(), read_pins(), pins(claims)) == []


def test_the_first_edition_is_frozen_and_the_second_is_open_and_empty() -> None:
    first, second = read_editions().editions
    assert first.rules == registered_digest(load_claims(), 1)
    assert (second.rules, registered_digest(load_claims(), 2)) == ("", registered_digest([], 2))


def test_registered_rules_are_those_of_the_commit_that_the_record_names() -> None:
    history = read_history()
    for claim in load_claims():
        recorded = history.claims[claim.id]
        assert [rule_text(c) for c in claim.registered] == (recorded.rules[0] if recorded.rules else []), claim.id


def test_every_rule_was_committed_before_the_first_result_that_it_judged() -> None:
    history = read_history()
    judged = [c for c in history.claims.values() if c.judged]
    assert len(judged) > 40
    for claim in judged:
        assert history.commits[claim.registered].date < history.commits[claim.judged[0].commits[0]].date


def test_the_record_names_no_place_on_a_disk() -> None:
    assert not re.search(r"(^|[\s\"'])/(work|home|root|tmp)\b", (PACKAGE / "rules" / "history.json").read_text())


@needs_history
def test_the_record_is_what_git_says() -> None:
    editions = read_editions()
    assert is_up_to_date(read_history(), PROJECT, editions.commits), RENEW


@needs_history
def test_every_change_of_a_condition_has_its_amendment_and_no_entry_was_rewritten() -> None:
    assert unrecorded(read_history(), read_editions()) == []
    assert rewritten(PROJECT, read_editions()) == []


def test_dates_of_amendments_are_those_of_their_commits() -> None:
    commits = read_history().commits
    for amendment in read_editions().amendments:
        if amendment.commit:
            assert commits[amendment.commit].date[:10] == amendment.date, amendment.id


# ---------------------------------------------------------------- what must not pass


def doctored(tmp_path: Path, claim: str, old: str, new: str) -> list[str]:
    """The problems that a change in one claim of the real rules makes."""
    text = CLAIMS_FILE.read_text(encoding="utf-8")
    start = text.index(f'id = "{claim}"')
    assert old in text[start:]
    copy = tmp_path / "claims.toml"
    copy.write_text(text[:start] + text[start:].replace(old, new, 1), encoding="utf-8")
    claims = load_claims(copy)
    return problems(claims, read_editions(), read_pins(), read_pins())


REVERSAL = """[[claim.condition]]
role = "essential"
value = "04.c31_reversal"
relation = "<"
threshold = 5.0
"""


@pytest.mark.parametrize(
    ("claim", "old", "new"),
    [
        ("C02", "threshold = 2.0", "threshold = 3.0"),
        ("C02", 'relation = "<"', 'relation = ">"'),
        ("C04", 'role = "qualifier"', 'role = "essential"'),
        ("C06", 'value = "01.c06_probe_gain"', 'value = "01.c06_probe_untrained"'),
        ("C31", REVERSAL, REVERSAL.replace("5.0", "5.0\nuntil = 'A2'")),  # an amendment, but of another claim
        ("C27", 'until = "A3"\n', ""),
        ("C27", 'since = "A3"\n', ""),
        ("C27", 'threshold = 5.0\nreads = "a probe', 'threshold = 1.0\nreads = "a probe'),  # an amended condition
        ("C28", 'since = "A2"\n', ""),
        ("C28", 'since = "A2"', 'since = "A77"'),
    ],
)
def test_a_silent_change_of_a_rule_is_a_problem(tmp_path: Path, claim: str, old: str, new: str) -> None:
    assert doctored(tmp_path, claim, old, new)


def test_a_removed_condition_is_a_problem(tmp_path: Path) -> None:
    text = CLAIMS_FILE.read_text(encoding="utf-8")
    start = text.index(REVERSAL)
    end = text.index("[[claim", start + 2)
    copy = tmp_path / "claims.toml"
    copy.write_text(text[:start] + text[end:], encoding="utf-8")
    found = problems(load_claims(copy), read_editions(), read_pins(), read_pins())
    assert any("not those that were frozen" in line for line in found)


def test_words_may_change(tmp_path: Path) -> None:
    assert doctored(tmp_path, "C02", "trained at one place", "trained in a single place") == []


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the code behind the rules."""
    for folder in ("chapters", "measure"):
        shutil.copytree(PACKAGE / folder, tmp_path / "package" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "package"


def module_with(package: Path, text: str) -> Path:
    return next(path for path in sorted(package.rglob("*.py")) if text in path.read_text(encoding="utf-8"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_changed_value_function_is_named_and_comments_and_places_do_not_count(package: Path) -> None:
    claims = load_claims()
    before = pins(claims, package)
    assert before == pins(claims)
    maker = module_with(package / "chapters", '"c31_middle"')
    maker.write_text("# a comment\n" + maker.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    maker.rename(maker.with_name("somewhere_else.py"))
    assert changed_pins(before, pins(claims, package)) == []
    edit(maker.with_name("somewhere_else.py"), "mean(name, middle(table, *how)", "mean(name, 2 * middle(table, *how)")
    changed = changed_pins(before, pins(claims, package))
    assert "04.c31_middle" in changed
    assert all(name.startswith("04.") for name in changed)
    assert "04.c27_kept" not in changed
    found = problems(claims, read_editions(), before, pins(claims, package))
    assert any("04.c31_middle" in line and "--pin" in line for line in found)


def test_what_all_chapters_measure_with_is_pinned(package: Path) -> None:
    claims = load_claims()
    edit(package / "measure" / "statistics.py", "CONFIDENCE = 0.95", "CONFIDENCE = 0.9")
    assert changed_pins(pins(claims), pins(claims, package)) == ["shared"]


def test_every_value_of_a_rule_has_a_pin_and_values_of_other_functions_have_others() -> None:
    claims, found = load_claims(), read_pins()
    assert {c.value for claim in claims for c in claim.conditions} <= found.keys()
    assert found["04.c27_kept"] != found["04.c31_middle"]


def test_pins_that_were_edited_by_hand_are_a_problem() -> None:
    recorded = read_pins()
    forged = recorded | {"04.c27_kept": "0" * 16}
    found = problems(load_claims(), read_editions(), forged, forged)
    assert found == ["code.json is not what the last [[recode]] of editions.toml vouches for"]


def test_a_new_pin_needs_its_reason_and_leaves_an_entry(tmp_path: Path) -> None:
    claims = load_claims()
    files = Files(tmp_path / "editions.toml", tmp_path / "code.json")
    shutil.copy(EDITIONS_FILE, files.editions)
    recorded = pins(claims)
    files.code.write_text(json.dumps(recorded | {"shared": "0" * 16}), encoding="utf-8")
    with pytest.raises(UsageError, match="--unchanged"):
        pin(claims, "tidied", "nothing", "", files)
    with pytest.raises(UsageError, match="--known is one of"):
        pin(claims, "tidied", "who knows", "a quick run", files)
    assert pin(claims, 'a "tidy" reason', "nothing", "a quick run is equal to the last digit", files) == ["shared"]
    editions = read_editions(files.editions)
    assert editions.recodes[-1].reason == 'a "tidy" reason'
    assert len(editions.recodes) == len(read_editions().recodes) + 1
    assert problems(claims, editions, read_pins(files.code), pins(claims)) == []
    with pytest.raises(ReportError, match="nothing to pin"):
        pin(claims, "again", "nothing", "a quick run", files)


# ---------------------------------------------------------------- both rules are judged, the registered one first


def condition(name: str, threshold: float = 5.0, role: str = "essential", **more: object) -> Condition:
    fields = {"role": role, "value": f"01.{name}", "relation": ">", "threshold": threshold, "reads": f"{name} is large"}
    return Condition.model_validate(fields | more)


def claim(*conditions: Condition) -> Claim:
    return Claim(id="C01", chapter="01", claim="It is.", where="somewhere", condition=list(conditions))


def test_an_amended_claim_has_two_verdicts_and_the_registered_one_counts() -> None:
    amended = claim(
        condition("a", until="A1"), condition("b", since="A1"), condition("a", role="qualifier", since="A1")
    )
    assert ([c.value for c in amended.registered], amended.amended) == (["01.a"], True)
    values = {"01.a": Value.model_validate(value(1.0)), "01.b": Value.model_validate(value(9.0))}
    first, second = (
        claims_module.judge(rule, [values[c.value] for c in rule]) for rule in (amended.registered, amended.in_force)
    )
    assert (first.verdict, second.verdict) == ("contradicted", "qualified")


def test_c27_is_contradicted_by_its_registered_rule_and_c28_either_way() -> None:
    rules = {c.id: c for c in load_claims()}
    kept = next(c for c in rules["C27"].registered if c.value == "04.c27_kept")
    assert (kept.role, kept.relation, kept.threshold) == ("essential", "<", 50.0)
    assert {c.key for c in rules["C28"].in_force} - {c.key for c in rules["C28"].registered} == {
        ("essential", "04.c28_left_time", "<", 5.0)
    }
    assert [c.id for c in rules.values() if c.amended] == ["C27", "C28"]


def test_the_newest_edition_decides() -> None:
    both = claim(condition("a"), condition("b", edition=2))
    assert ([c.value for c in both.registered], both.edition) == (["01.b"], 2)
    assert registered_digest([both], 1) == registered_digest([claim(condition("a"))], 1)
    assert in_force_digest([both], 2) != in_force_digest([claim(condition("a"))], 2)


def test_what_falsifies_a_claim_is_made_from_its_conditions() -> None:
    assert falsifier([condition("a"), condition("b", role="qualifier")]) == "Contradicted if this fails: a is large."
    assert falsifier([condition("a"), condition("b")]) == (
        "Contradicted if one of these 2 fails, whatever the others do: (1) a is large; (2) b is large."
    )
    sentences = {c.id: falsifier(c.registered) for c in load_claims()}
    assert "one of these 3 fails" in sentences["C04"]
    for of_claim in load_claims():  # each sentence names all that can contradict the claim, and nothing else
        essential = [c.reads for c in of_claim.registered if c.role == "essential"]
        assert all(reads in sentences[of_claim.id] for reads in essential)
        assert not any(c.reads in sentences[of_claim.id] for c in of_claim.registered if c.reads not in essential)


# ---------------------------------------------------------------- history from git


@dataclass
class Repository:
    """A small repository with one claim."""

    folder: Path
    minute: int = 0

    def git(self, *arguments: str) -> str:
        self.minute += 1
        when = f"2026-01-01T00:{self.minute:02d}:00+00:00"
        return subprocess.run(
            ["git", "-C", str(self.folder), "-c", "user.name=A", "-c", "user.email=a@b", *arguments],
            capture_output=True, text=True, check=True,
            env={"GIT_COMMITTER_DATE": when, "GIT_AUTHOR_DATE": when, "PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": "/"},
        ).stdout.strip()  # fmt: skip

    def rules(
        self, conditions: Sequence[tuple[str, str, float]], path: str = CLAIM_PATHS[1], falsified: str = "no"
    ) -> None:
        rows = "".join(
            f'[[claim.condition]]\nrole = "{role}"\nvalue = "01.{name}"\nrelation = ">"\nthreshold = {threshold}\n'
            f'reads = "{name} is large"\n'
            for role, name, threshold in conditions
        )
        head = f'[[claim]]\nid = "C01"\nclaim = "It is."\nfalsified_when = "{falsified}"\n'
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(head + rows)

    def values(self, **numbers: float) -> None:
        folder = self.folder / "figures" / "01"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps({"started": f"minute {self.minute}"}))
        (folder / "values.json").write_text(json.dumps({"values": {k: value(v) for k, v in numbers.items()}}))

    def commit(self, subject: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")[:10]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    made.git("init", "-q", "-b", "main")
    return made


def test_history_tells_registration_changes_and_verdicts_under_the_rules_valid_then(repository: Repository) -> None:
    repository.rules([])
    repository.commit("a draft")
    repository.rules([("essential", "a", 5.0)])
    registered = repository.commit("the rule")
    repository.values(a=1.0, b=9.0)
    first = repository.commit("publish")
    repository.values(a=1.0, b=9.5)
    again = repository.commit("publish what no rule asks for")
    repository.rules([("qualifier", "a", 5.0), ("essential", "b", 5.0)], falsified="never")
    changed = repository.commit("an easier rule")
    repository.values(a=2.0, b=9.0)
    second = repository.commit("publish anew")
    (repository.folder / CLAIM_PATHS[1]).unlink()
    repository.rules([("qualifier", "a", 5.0), ("essential", "b", 5.0)], CLAIM_PATHS[0], falsified="never")
    repository.commit("move the file")
    values_file = repository.folder / "figures" / "01" / "values.json"
    values_file.write_text(values_file.read_text().replace("9.0", "9.25"))
    repository.commit("not a run: the file was only written anew")

    history = from_git(repository.folder)
    found = history.claims["C01"]
    assert found.registered == registered
    assert found.rules == [["essential: 01.a > 5"], ["qualifier: 01.a > 5", "essential: 01.b > 5"]]
    assert [(c.commit, c.what, c.before, c.after) for c in found.changes] == [
        (changed, "falsified_when", "no", "never"),
        (changed, "condition changed", "essential: 01.a > 5", "qualifier: 01.a > 5"),
        (changed, "condition added", "", "essential: 01.b > 5"),
    ]
    assert [(j.commits, j.verdict) for j in found.judged] == [([first, again], "contradicted"), ([second], "qualified")]
    told = events(claim(condition("a")), history, Editions(edition=[]))
    assert [e.kind for e in told][:2] == ["registered", "judged"]
    assert told[-1].details[0] == "The rule had been amended in between."
    write_history(history, repository.folder / "history.json")
    assert read_history(repository.folder / "history.json") == history


def test_a_merge_changes_nothing_that_one_of_its_parents_had(repository: Repository) -> None:
    repository.rules([("essential", "a", 5.0)])
    repository.commit("the rule")
    repository.git("checkout", "-q", "-b", "side")
    repository.rules([("essential", "a", 3.0)])
    changed = repository.commit("another threshold")
    repository.git("checkout", "-q", "main")
    repository.values(a=9.0)
    published = repository.commit("publish")
    repository.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    found = from_git(repository.folder).claims["C01"]
    assert [(c.commit, c.after) for c in found.changes] == [(changed, "essential: 01.a > 3")]
    assert [j.commits for j in found.judged] == [[published]]


def test_a_record_may_lack_what_its_own_commit_does_and_no_more(repository: Repository) -> None:
    repository.rules([("essential", "a", 5.0)])
    repository.commit("the rule")
    before = from_git(repository.folder)
    repository.rules([("essential", "a", 3.0)])
    repository.commit("another threshold")
    assert is_up_to_date(before, repository.folder)
    repository.commit("something else")
    assert not is_up_to_date(before, repository.folder)
    assert is_up_to_date(from_git(repository.folder), repository.folder)


def test_a_folder_without_history_says_so(tmp_path: Path) -> None:
    assert not has_history(tmp_path)
    with pytest.raises(ReportError, match="cannot be read from git"):
        from_git(tmp_path)


def test_the_command_prints_the_record_of_one_claim(capsys: pytest.CaptureFixture[str]) -> None:
    from clip_invariance.cli import main

    assert main(["claims", "--history", "c27"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"2026-11-22 05:55 +dadc8989cd +registered", printed)
    assert re.search(r"2026-11-22 07:36 +1cf628a9c7 +amended", printed)
    assert "Changed: essential: 04.c27_kept < 50 became qualifier: 04.c27_kept < 50" in printed
    assert "Known then: trials had been run" in printed
    assert "C28" not in printed.partition("\n")[0]
    assert main(["claims", "--history", "C18", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["C18"]
    assert [e["summary"].partition(":")[0] for e in told if e["kind"] == "judged"] == [
        "contradicted",
        "inconclusive (was contradicted)",
    ]
    assert main(["claims", "--history", "C99"]) == 2
    assert "there is no claim C99" in capsys.readouterr().err
