"""The one form of table: how it is read, and what it refuses to guess."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest

from clip_invariance.errors import UsageError
from clip_invariance.measure.tables import (
    gap,
    intervals,
    mean,
    mean_over,
    per_seed,
    percent,
    point,
    row,
    rows,
    seeds_in_which,
    select,
    with_arms,
)
from clip_invariance.profiles import PROFILES, Scale, run_in
from clip_invariance.units import label, plain


@dataclass(frozen=True)
class Arm:
    mention: float = 0.0
    size: str = "small"
    since: str = field(default="quick", compare=False)


SILENT, ALWAYS = Arm(), Arm(mention=1.0, since="standard")


@pytest.fixture
def table() -> pd.DataFrame:
    found = []
    for seed in (0, 1, 2):
        for arm, right in ((SILENT, 0.5), (ALWAYS, 0.9)):
            probes = rows("probe", {"light": right + seed / 100, "car": 1.0}, depth="embedding")
            few = [row("few_shot", right, depth="embedding", factor="light", labels=n) for n in (1, 4)]
            found += [{"arm": label(arm), "seed": seed, **one} for one in (*probes, *few)]
    return pd.DataFrame(found)


def test_one_number_per_seed(table: pd.DataFrame) -> None:
    found = percent(table, arm=ALWAYS, metric="probe", depth="embedding", factor="light")
    assert found.to_dict() == pytest.approx({0: 90, 1: 91, 2: 92})


def test_what_was_not_measured_is_empty_and_makes_no_value(table: pd.DataFrame) -> None:
    nothing = per_seed(table, arm=Arm(size="large"), metric="probe")
    assert nothing.empty
    assert mean("x", nothing, "figure", "what", kind="share") is None
    assert gap("x", nothing, nothing, "figure", "what") is None


def test_a_question_that_does_not_say_enough_is_refused_by_what_it_leaves_open(table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"seed 0 comes 2 times .* say which labels"):
        per_seed(table, arm=SILENT, metric="few_shot")


def test_a_measurement_that_is_there_twice_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="the same measurement is there twice"):
        per_seed(pd.concat([table, table]), arm=SILENT, metric="probe", factor="light")


def test_a_column_that_is_not_there_is_named(table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"no column 'metrik': it has arm, seed, metric"):
        per_seed(table, metrik="probe")


def test_means_over_factors_are_within_a_seed(table: pd.DataFrame) -> None:
    found = mean_over(table, "factor", ("light", "car"), arm=SILENT, metric="probe")
    assert found.to_dict() == pytest.approx({0: 0.75, 1: 0.755, 2: 0.76})
    lacking = table.drop(table[(table["seed"] == 1) & (table["factor"] == "car")].index)
    with pytest.raises(UsageError, match="some seeds lack some factors"):
        mean_over(lacking, "factor", ("light", "car"), arm=SILENT, metric="probe")


def test_several_values_of_a_column_are_chosen_at_once(table: pd.DataFrame) -> None:
    assert set(select(table, labels=(1, 4), arm=SILENT)["metric"]) == {"few_shot"}


def test_a_figures_table_has_no_row_of_what_was_not_measured(table: pd.DataFrame) -> None:
    def lines(*arms: Arm) -> pd.DataFrame:
        each = (({"mention": arm.mention}, percent(table, arm=arm, metric="probe", factor="light")) for arm in arms)
        return intervals(each, columns=["mention"])

    found = lines(SILENT, Arm(size="large"), ALWAYS)
    assert found["mention"].tolist() == [0.0, 1.0]
    assert found["value"].tolist() == pytest.approx([51, 91])
    assert (found["n"] == 3).all()
    nothing = lines(Arm(size="large"))
    assert nothing.empty
    assert list(nothing.columns) == list(found.columns)


def test_kinds_bring_their_units(table: pd.DataFrame) -> None:
    right = percent(table, arm=SILENT, metric="probe", factor="light")
    share = mean("a", right, "figure", "what", kind="share")
    better = gap("b", percent(table, arm=ALWAYS, metric="probe", factor="light"), right, "figure", "what")
    assert share is not None
    assert better is not None
    assert (share.unit, share.kind) == ("%", "share")
    assert (better.unit, better.kind, round(better.estimate.value)) == ("points", "difference", 40)


def test_what_an_arm_is_called_and_when_it_runs_is_no_part_of_its_key() -> None:
    assert plain(SILENT) == {"Arm": {}}
    assert plain(ALWAYS) == {"Arm": {"mention": 1.0}}
    assert label(ALWAYS) == "Arm(mention=1.0)"
    assert plain({"a": (1, 2)}["a"]) == [1, 2]
    assert Arm(since="full") == SILENT


def test_sizes_and_arms_by_profile() -> None:
    size = Scale(usual=400, smoke=4, full=800)
    assert [size.at(profile) for profile in PROFILES.values()] == [4, 400, 400, 800]
    arms = [SILENT, ALWAYS, Arm(0.5, since="full")]
    found = {name: len(run_in(arms, profile)) for name, profile in PROFILES.items()}
    assert found == {"smoke": 1, "quick": 1, "standard": 2, "full": 3}
    assert len(run_in(arms, PROFILES["smoke"], smoke="standard")) == 2
    assert np.all([arm in arms for arm in run_in(arms, PROFILES["full"])])


def test_arms_say_in_columns_what_they_are_and_rows_of_others_are_left_out(table: pd.DataFrame) -> None:
    found = with_arms(table, [ALWAYS], "mention", "since")
    assert set(found["arm"]) == {label(ALWAYS)}
    assert found[["mention", "since"]].drop_duplicates().to_numpy().tolist() == [[1.0, "standard"]]


def test_a_point_of_a_figure_has_names_and_an_interval(table: pd.DataFrame) -> None:
    samples = percent(table, arm=SILENT, metric="probe", factor="light")
    (drawn,) = point(samples, series="probe", mention=0.0)
    assert list(drawn) == ["series", "mention", "value", "low", "high", "n"]
    assert (drawn["value"], drawn["n"]) == (pytest.approx(51), 3)
    assert point(percent(table, arm=Arm(mention=0.3)), series="probe") == []


def test_a_share_of_seeds_is_counted_and_has_wilsons_interval(table: pd.DataFrame) -> None:
    samples = percent(table, arm=SILENT, metric="probe", factor="light")
    value = seeds_in_which("above", samples > 50, "figure", "seeds in which it is above 50 %")
    assert value is not None
    assert (value.kind, value.unit, value.estimate.value) == ("share", "%", pytest.approx(200 / 3))
    assert 0 < value.estimate.low < value.estimate.high < 100
    assert seeds_in_which("above", samples[:0] > 50, "figure", "none") is None
