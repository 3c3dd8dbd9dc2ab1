"""Caption policies: what is mentioned, how often, and that p(caption | factors) is what it says."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_invariance.captions import PRONOUNS, UNRELATED, CaptionPolicy, Captions, Vocabulary, prompts
from clip_invariance.errors import UsageError

WORDS = Vocabulary(
    phrases={
        "medium": [("a photo of a", "a picture of a"), ("a sketch of a", "a drawing of a")],
        "object": [("apple",), ("dog", "hound"), ("car",), ("hat",), ("umbrella",)],
        "place": [("on the left", "at the left side"), ("on the right",), ("in the middle",)],
    },
    templates=("{medium} {object} {place}", "{place} {medium} {object}", "look {medium} {object} here {place}"),
    unmentioned={"medium": ("a",), "object": ("thing", "something")},
    fillers={"place": ("for the day", "in a while"), "object": ("item",)},
    noun="object",
)
probabilities = st.sampled_from([0.0, 0.01, 0.3, 0.5, 1.0])
policies = st.builds(
    lambda mention, filler, rates, total, source, varied: CaptionPolicy(
        mention=dict(zip(WORDS.phrases, mention, strict=True)),
        filler=filler,
        noise={
            kind: total * rate / max(1, sum(rates))
            for kind, rate in zip(("unrelated", "stuffed", "nounless"), rates, strict=True)
        },
        source=source,
        varied=varied,
    ),
    st.tuples(probabilities, probabilities, probabilities),
    st.sampled_from([(), ("place",), ("place", "object")]),
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    st.floats(0, 1).map(lambda total: round(total, 6)),
    st.sampled_from([None, "medium"]),
    st.booleans(),
)
values = st.fixed_dictionaries({"medium": st.integers(0, 1), "object": st.integers(0, 4), "place": st.integers(0, 2)})


def columns(n: int, **value: int) -> dict[str, torch.Tensor]:
    return {name: torch.full((n,), number) for name, number in value.items()}


def mixed(n: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randint(len(v), (n,), generator=generator) for name, v in WORDS.phrases.items()}


@given(policies, values)
@settings(max_examples=60, deadline=None)
def test_probabilities_are_positive_and_sum_to_one(policy: CaptionPolicy, value: dict[str, int]) -> None:
    found = policy.distribution(WORDS, value)
    assert math.isclose(math.fsum(found.values()), 1, abs_tol=1e-9)
    assert min(found.values()) > 0


@given(policies, values, st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_frequencies_are_the_probabilities(policy: CaptionPolicy, value: dict[str, int], seed: int) -> None:
    n = 4000
    found = policy.distribution(WORDS, value)
    drawn = Counter(policy.sample(WORDS, columns(n, **value), seed).strings())
    assert set(drawn) <= set(found)
    for text, p in found.items():
        # Six standard deviations, and a little for counts that are too small to be normal.
        assert abs(drawn[text] - n * p) < 6 * math.sqrt(n * p * (1 - p)) + 6


def test_a_plain_caption_reads_as_english() -> None:
    policy = CaptionPolicy({"medium": 1, "object": 1, "place": 1}, varied=False)
    assert policy.distribution(WORDS, {"medium": 0, "object": 0, "place": 1}) == {
        "a photo of an apple on the right": pytest.approx(1)
    }
    assert CaptionPolicy({"object": 1}, varied=False).sample(
        WORDS, columns(1, medium=0, object=4, place=0), 0
    ).texts == ("an umbrella",)


@pytest.mark.parametrize(
    ("noun", "caption"),
    [("unicorn", "a unicorn"), ("hour", "a hour"), ("egg", "an egg"), ("one", "a one"), ("onesie", "an onesie")],
)
def test_articles(noun: str, caption: str) -> None:
    """ "hour" shows the limit: the rule knows spellings, and only a few exceptions."""
    words = Vocabulary({"object": [(noun,)]}, ("an   {object} ",))
    assert CaptionPolicy({"object": 1}).distribution(words, {"object": 0}) == {caption: 1.0}


def test_a_mention_rate_is_how_many_captions_mention() -> None:
    labels = mixed(40_000)
    policy = CaptionPolicy({"object": 1, "place": 0.1})
    said = ["left" in text or "right" in text or "middle" in text for text in policy.sample(WORDS, labels, 1).strings()]
    assert sum(said) / len(said) == pytest.approx(0.1, abs=0.008)


def test_a_higher_rate_mentions_in_the_same_captions_and_more() -> None:
    labels = mixed(5_000)

    def mentions(rate: float) -> torch.Tensor:
        texts = CaptionPolicy({"place": rate}).sample(WORDS, labels, 3).strings()
        return torch.tensor(["the" in text.split() for text in texts])

    low, high = mentions(0.2), mentions(0.5)
    assert bool((low <= high).all())
    assert 0 < int(low.sum()) < int(high.sum())


def test_an_unmentioned_factor_leaves_no_trace() -> None:
    labels = mixed(2_000)
    other = labels | {"place": (labels["place"] + 1) % 3}
    policy = CaptionPolicy({"object": 1, "medium": 0.5}, noise={"stuffed": 0.2, "unrelated": 0.2})
    assert policy.sample(WORDS, labels, 0).strings() == policy.sample(WORDS, other, 0).strings()


def test_fillers_keep_the_length_and_tell_nothing() -> None:
    policy = CaptionPolicy({"object": 1}, filler=("place",))
    found = [policy.distribution(WORDS, {"medium": 0, "object": 1, "place": place}) for place in range(3)]
    assert found[0] == found[1] == found[2]
    assert all("for the day" in text or "in a while" in text for text in found[0])


def test_kinds_of_noise() -> None:
    value = {"medium": 0, "object": 1, "place": 0}

    def only(kind: str) -> set[str]:
        return set(CaptionPolicy({"object": 1}, noise={kind: 1.0}, varied=False).distribution(WORDS, value))  # type: ignore[dict-item]

    assert only("unrelated") == set(UNRELATED)
    assert only("nounless") == {f"a {PRONOUNS[0]}"}
    # The right noun and three of the four wrong ones, always in the vocabulary's order.
    assert only("stuffed") == {
        "an apple dog car hat",
        "an apple dog car umbrella",
        "an apple dog hat umbrella",
        "a dog car hat umbrella",
    }


def test_the_source_token_stands_in_front_of_the_pictures_of_its_source() -> None:
    labels = mixed(500) | {"source": torch.arange(500) % 2}
    policy = CaptionPolicy({"object": 1}, source="source", token="itap")
    texts = policy.sample(WORDS, labels, 0).strings()
    assert [text.startswith("itap ") for text in texts] == [i % 2 == 1 for i in range(500)]
    assert all("itap" not in text for text in replace(policy, noise={"unrelated": 1.0}).sample(WORDS, labels, 0).texts)


def test_texts_are_distinct_and_parts_keep_them() -> None:
    captions = CaptionPolicy({"object": 1, "place": 0.5}).sample(WORDS, mixed(1_000), 0)
    assert len(set(captions.texts)) == len(captions.texts) == int(captions.index.unique().numel())
    part = captions[torch.tensor([5, 3, 5])]
    assert part.strings() == [captions.strings()[i] for i in (5, 3, 5)]
    assert part.texts == captions.texts
    assert len(captions[:7]) == 7


def test_seeds() -> None:
    policy, labels = CaptionPolicy({"object": 0.5, "place": 0.5}), mixed(300)
    assert policy.sample(WORDS, labels, 1).strings() == policy.sample(WORDS, labels, 1).strings()
    assert policy.sample(WORDS, labels, 1).strings() != policy.sample(WORDS, labels, 2).strings()


def test_no_pictures_no_captions() -> None:
    captions = CaptionPolicy({"object": 1}).sample(WORDS, mixed(0), 0)
    assert (len(captions), captions.texts) == (0, ())


def test_fifty_thousand_captions_in_a_moment() -> None:
    labels = mixed(50_000)
    policy = CaptionPolicy(dict.fromkeys(WORDS.phrases, 0.5), noise={"stuffed": 0.1})
    started = time.process_time()
    captions = policy.sample(WORDS, labels, 0)
    assert time.process_time() - started < 2  # 0.2 s on an idle core
    assert len(captions) == 50_000


def test_prompts_mention_one_factor_and_what_is_given() -> None:
    assert prompts(WORDS, "object")[1] == [
        "a dog",
        "a hound",
        "look a dog here",
        "look a hound here",
    ]
    both = prompts(WORDS, "place", given={"object": 0})
    assert both[1] == ["an apple on the right", "on the right an apple", "look an apple here on the right"]
    assert len(both) == 3


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: CaptionPolicy({"object": 1.5}), "mention of object is 1.5"),
        (lambda: CaptionPolicy({"object": float("nan")}), "mention of object is nan"),
        (lambda: CaptionPolicy(noise={"unrelated": 0.6, "stuffed": 0.6}), "sum of the noise rates is 1.2"),
        (lambda: CaptionPolicy(noise={"typos": 0.1}), "unknown noise 'typos'"),  # type: ignore[dict-item]
        (lambda: replace(WORDS, templates=("{object} {medium}",)), "slot {place} exactly once"),
        (lambda: replace(WORDS, templates=("{object} {medium} {place} {colour}",)), "unknown slot 'colour'"),
        (lambda: replace(WORDS, templates=("{object",)), "cannot be read"),
        (lambda: replace(WORDS, templates=()), "templates: expected at least one"),
        (lambda: replace(WORDS, phrases={**WORDS.phrases, "place": [("here",), ()]}), "value 1 of factor place"),
        (lambda: replace(WORDS, phrases={**WORDS.phrases, "place": ["here"]}), "value 0 of factor place"),
        (lambda: replace(WORDS, phrases={**WORDS.phrases, "place": []}), "factor place has no values"),
        (lambda: replace(WORDS, fillers={"colour": ("red",)}), "unknown factor 'colour'"),
        (lambda: replace(WORDS, noun="colour"), "unknown factor 'colour'"),
        (lambda: prompts(WORDS, "colour"), "unknown factor 'colour'"),
        (lambda: prompts(WORDS, "place", given={"object": 9}), "object is 9"),
        (lambda: prompts(WORDS, "place", given={"place": 0}), "given: place"),
        (lambda: CaptionPolicy({"colour": 1}).sample(WORDS, mixed(2), 0), "unknown factor 'colour'"),
        (lambda: CaptionPolicy(filler=("medium",)).sample(WORDS, mixed(2), 0), "no fillers for factor medium"),
        (lambda: CaptionPolicy(source="itap").sample(WORDS, mixed(2), 0), "factor itap is missing"),
        (lambda: CaptionPolicy().sample(WORDS, {"medium": torch.zeros(1).long()}, 0), "factor object is missing"),
        (lambda: CaptionPolicy().sample(WORDS, columns(1, medium=0, object=5, place=0), 0), "object is 5"),
        (lambda: CaptionPolicy().distribution(WORDS, {"medium": 0, "object": -1, "place": 0}), "object is -1"),
        (lambda: CaptionPolicy().sample(WORDS, mixed(2) | {"place": torch.zeros(3).long()}, 0), "place is (3,)"),
        (
            lambda: CaptionPolicy(noise={"stuffed": 0.1}).sample(replace(WORDS, noun=None), mixed(2), 0),
            "need a vocabulary with a noun",
        ),
        (lambda: Captions(("a", "a"), torch.zeros(1).long()), "distinct"),
        (lambda: Captions(("a",), torch.ones(1).long()), "leaves the 1 texts"),
        (lambda: Captions(("a",), torch.zeros(1)), "expected (n,) int64"),
    ],
)
def test_errors_are_named(build: Any, says: str) -> None:
    with pytest.raises(UsageError) as error:
        build()
    assert says in str(error.value)
