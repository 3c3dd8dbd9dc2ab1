"""Captions as people might write them: which factors of a picture are mentioned, how often, and in which words.

A :class:`Vocabulary` says how English names each value of each factor; a :class:`CaptionPolicy` says which factors a
caption mentions, with which probability, and how noisy captions are. Nothing here knows where pictures come from: a
picture is its factor values, so that p(caption | factors) is known exactly (:meth:`CaptionPolicy.distribution`).

How one caption is drawn, given the values of a picture:

1. the kind: one of the noise kinds with its rate, otherwise plain;
2. a template, uniformly;
3. for each slot, independently: with the factor's mention probability one of the wordings of its value (uniformly),
   otherwise one of its fillers (if the policy asks for them) or one of the wordings for not mentioning it;
4. the source token in front, if the picture comes from the planted source.

Noise: an ``unrelated`` caption has nothing to do with the picture and replaces all of this; a ``stuffed`` one lists the
nouns of several wrong objects beside the right one (in a fixed order, so that the place in the list tells nothing); a
``nounless`` one says "this" or "it" in the place of the noun. The other slots of the last two are as usual.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Literal, get_args

import torch
from torch import Tensor

from clip_invariance.errors import UsageError

Noise = Literal["unrelated", "stuffed", "nounless"]
NOISE: tuple[Noise, ...] = get_args(Noise)

UNRELATED: tuple[str, ...] = (
    "free download hd wallpaper",
    "best price buy online today",
    "click here to read more",
    "image may contain text",
    "img 20210413 final copy",
    "top ten tips for beginners",
    "screenshot from last night",
    "follow us for daily updates",
)
"""Alt-text that comes with pictures on web pages and says nothing about them."""
PRONOUNS: tuple[str, ...] = ("this", "it")
"""What a nounless caption says in the place of the noun."""
STUFFED_WITH = 3
"""Wrong nouns in a stuffed caption (fewer where the noun has fewer values)."""

Options = tuple[tuple[str, float], ...]
"""What may stand in a slot: distinct texts and their probabilities, none of them 0."""

# The indefinite article goes by sound; the few spellings named here are the ones whose first letter misleads.
_VOWEL_SOUND = re.compile(r"(?!uni|use|eu|one$)[aeiou]")


@dataclass(frozen=True)
class Captions:
    """The captions of n pictures.

    Attributes:
        texts: distinct strings.
        index: int64 (n,): the caption of picture i is ``texts[index[i]]``.

    Raises:
        UsageError: for repeated texts or an index outside them.
    """

    texts: tuple[str, ...]
    index: Tensor

    def __post_init__(self) -> None:
        if len(set(self.texts)) != len(self.texts):
            raise UsageError("captions: the texts must be distinct")
        if self.index.ndim != 1 or self.index.dtype != torch.int64:
            raise UsageError(f"captions: index is {tuple(self.index.shape)} {self.index.dtype}: expected (n,) int64")
        if len(self.index) and not 0 <= int(self.index.min()) <= int(self.index.max()) < len(self.texts):
            raise UsageError(f"captions: index leaves the {len(self.texts)} texts")

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: slice | Tensor) -> Captions:
        """The captions of some pictures (slice, mask or indices). ``texts`` stays whole, so that rows that were
        computed once for each distinct text still fit."""
        return Captions(self.texts, self.index[which])

    def strings(self) -> list[str]:
        """One string for each picture."""
        return [self.texts[i] for i in self.index.tolist()]


@dataclass(frozen=True)
class Vocabulary:
    """How English names the values of each factor.

    Attributes:
        phrases: factor -> for each value its wordings; a wording fills the slot ("in the top left corner").
        templates: strings with every factor once as a slot, for example ``"{medium} {size} {object} {place}"``. A
            factor must not be missing in one of them: the mention rate would not be what the policy says. Runs of
            spaces are collapsed and a/an is made right.
        unmentioned: factor -> wordings of its slot in captions that do not mention it; by default the slot is empty.
        fillers: factor -> wordings of its slot that are as long as its phrases and tell nothing.
        noun: the factor that names the main object, for the noise kinds "stuffed" and "nounless".
        unrelated: the captions of the noise kind "unrelated".

    Raises:
        UsageError: for a value without a wording, an unknown factor, an unknown, missing or repeated template slot.
    """

    phrases: Mapping[str, Sequence[Sequence[str]]]
    templates: Sequence[str]
    unmentioned: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fillers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    noun: str | None = None
    unrelated: Sequence[str] = UNRELATED

    def __post_init__(self) -> None:
        for factor, values in self.phrases.items():
            if not values:
                raise UsageError(f"vocabulary: factor {factor} has no values")
            for value, wordings in enumerate(values):
                _check_wordings(f"value {value} of factor {factor}", wordings)
        for name, table in (("unmentioned", self.unmentioned), ("fillers", self.fillers)):
            for factor, wordings in table.items():
                self.check_factor(factor)
                _check_wordings(f"{name} of factor {factor}", wordings)
        if self.noun is not None:
            self.check_factor(self.noun)
        _check_wordings("unrelated", self.unrelated)
        _check_wordings("templates", self.templates)
        for template in self.templates:
            slots = _slots_of(template)
            for slot in slots:
                if slot not in self.phrases:
                    raise UsageError(
                        f"template {template!r} has an unknown slot {slot!r}: choose from {', '.join(self.phrases)}"
                    )
            for factor in self.phrases:
                if slots.count(factor) != 1:
                    raise UsageError(f"template {template!r} must have the slot {{{factor}}} exactly once")

    def check_factor(self, factor: str) -> None:
        """Raises UsageError if there is no such factor."""
        if factor not in self.phrases:
            raise UsageError(f"unknown factor {factor!r}: choose from {', '.join(self.phrases)}")

    def check_value(self, factor: str, value: int) -> None:
        """Raises UsageError if there is no such factor or the factor has no such value."""
        self.check_factor(factor)
        count = len(self.phrases[factor])
        if not 0 <= value < count:
            raise UsageError(f"factor {factor} is {value}: its values are 0 to {count - 1}")

    def silent(self, factor: str) -> Sequence[str]:
        """What stands in the slot of a factor that is not mentioned."""
        return self.unmentioned.get(factor, ("",))


def _check_wordings(what: str, wordings: Sequence[str]) -> None:
    if isinstance(wordings, str) or not wordings:
        raise UsageError(f"vocabulary: {what}: expected at least one wording, got {wordings!r}")


@dataclass(frozen=True)
class CaptionPolicy:
    """Which factors captions mention, how often, in how many words, and how noisy they are.

    Attributes:
        mention: factor -> probability that a caption mentions it; 0 for factors that are not named here.
        filler: factors whose omitted mention is replaced by a filler, so that captions do not get shorter.
        noise: kind -> rate; the rates add up to at most 1.
        source: a two-valued column of the labels (it need not be a factor of the vocabulary): pictures of value 1 have
            ``token`` in front of their caption, unless it is unrelated.
        token: the planted source token.
        varied: False writes every caption after the first template, with the first wording and the first pronoun.

    Raises:
        UsageError: naming a probability outside [0, 1] or an unknown kind of noise.
    """

    mention: Mapping[str, float] = field(default_factory=dict)
    filler: tuple[str, ...] = ()
    noise: Mapping[Noise, float] = field(default_factory=dict)
    source: str | None = None
    token: str = "itap"
    varied: bool = True

    def __post_init__(self) -> None:
        for kind in self.noise:
            if kind not in NOISE:
                raise UsageError(f"unknown noise {kind!r}: choose from {', '.join(NOISE)}")
        rates = {f"mention of {factor}": p for factor, p in self.mention.items()}
        rates |= {f"noise {kind}": p for kind, p in self.noise.items()}
        rates["sum of the noise rates"] = math.fsum(self.noise.values())
        for name, p in rates.items():
            if not 0 <= p <= 1 + 1e-9:
                raise UsageError(f"{name} is {p:g}: a probability is between 0 and 1")

    def sample(self, vocabulary: Vocabulary, labels: Mapping[str, Tensor], seed: int) -> Captions:
        """Draw one caption for each picture.

        The same seed uses the same random numbers whatever the policy: a caption that mentions a factor at one rate
        also mentions it at every higher rate.

        Args:
            vocabulary: the words.
            labels: int64 (n,) for every factor of the vocabulary, and for the source column; others are ignored.
            seed: decides all choices.

        Raises:
            UsageError: naming a factor that is unknown or missing, or a value out of range.
        """
        self._check(vocabulary)
        columns = _columns(vocabulary, labels, self.source)
        n = len(next(iter(columns.values())))
        draws = torch.rand(
            2 + len(vocabulary.phrases), n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        bounds = torch.tensor([p for _, p in self._kinds()], dtype=torch.float64).cumsum(0)[:-1]
        kinds = torch.bucketize(draws[0], bounds, right=True)
        marked = columns[self.source] if self.source else torch.zeros(n, dtype=torch.int64)

        texts: dict[str, int] = {}
        index = torch.empty(n, dtype=torch.int64)
        for number, (kind, _) in enumerate(self._kinds()):
            rows = (kinds == number).nonzero().squeeze(1)
            if not len(rows):
                continue
            if kind == "unrelated":
                parts = [_choose(_uniform(vocabulary.unrelated), draws[1, rows])]
            else:
                parts = [_choose(self._templates(vocabulary), draws[1, rows]), marked[rows]]
                for column, factor in enumerate(vocabulary.phrases):
                    values, draw = columns[factor][rows], draws[2 + column, rows]
                    parts.append(_choose_by_value(self._slots(vocabulary, factor, kind), values, draw))
            distinct, inverse = torch.unique(_mixed_radix(parts), return_inverse=True)
            first = torch.empty_like(distinct).scatter_(0, inverse, torch.arange(len(rows)))
            if kind == "unrelated":
                written = [vocabulary.unrelated[i] for i in parts[0][first].tolist()]
            else:
                written = self._write(vocabulary, kind, [part[first].tolist() for part in parts])
            places = torch.tensor([texts.setdefault(text, len(texts)) for text in written])
            index[rows] = places[inverse]
        return Captions(tuple(texts), index)

    def distribution(self, vocabulary: Vocabulary, values: Mapping[str, int]) -> dict[str, float]:
        """The exact p(caption | factors), noise included.

        Args:
            vocabulary: the words.
            values: the value of every factor of the vocabulary, and of the source column.

        Returns:
            caption -> probability, all positive; they sum to 1. The number of captions is the product of the numbers
            of wordings: some thousands for a handful of factors.

        Raises:
            UsageError: naming a factor that is unknown or missing, or a value out of range.
        """
        self._check(vocabulary)
        columns = _columns(vocabulary, {name: torch.tensor([value]) for name, value in values.items()}, self.source)
        front = f"{self.token} " if self.source and int(columns[self.source]) == 1 else ""
        found: dict[str, float] = {}
        for kind, rate in self._kinds():
            if rate <= 0:
                continue
            if kind == "unrelated":
                for text, p in _uniform(vocabulary.unrelated):
                    found[text] = found.get(text, 0.0) + rate * p
                continue
            slots = [self._slots(vocabulary, factor, kind)[int(columns[factor])] for factor in vocabulary.phrases]
            for template, p_template in self._templates(vocabulary):
                for choice in itertools.product(*slots):
                    filled = dict(zip(vocabulary.phrases, (text for text, _ in choice), strict=True))
                    text = _tidy(front + template.format(**filled))
                    p = rate * p_template * math.prod(p for _, p in choice)
                    found[text] = found.get(text, 0.0) + p
        return found

    def _check(self, vocabulary: Vocabulary) -> None:
        for factor in (*self.mention, *self.filler):
            vocabulary.check_factor(factor)
        for factor in self.filler:
            if factor not in vocabulary.fillers:
                raise UsageError(f"filler: the vocabulary has no fillers for factor {factor}")
        if vocabulary.noun is None and any(self.noise.get(kind, 0) > 0 for kind in ("stuffed", "nounless")):
            raise UsageError("noise: stuffed and nounless captions need a vocabulary with a noun")

    def _kinds(self) -> list[tuple[Noise | Literal["plain"], float]]:
        """All kinds of caption with their rates, in a fixed order."""
        noisy: list[tuple[Noise | Literal["plain"], float]] = [(kind, self.noise.get(kind, 0.0)) for kind in NOISE]
        return [*noisy, ("plain", max(0.0, 1 - math.fsum(self.noise.values())))]

    def _templates(self, vocabulary: Vocabulary) -> Options:
        return _uniform(self._words(vocabulary.templates))

    def _words(self, wordings: Sequence[str]) -> Sequence[str]:
        return wordings if self.varied else wordings[:1]

    def _slots(self, vocabulary: Vocabulary, factor: str, kind: Noise | Literal["plain"]) -> list[Options]:
        """For each value of a factor: what may stand in its slot."""
        values = range(len(vocabulary.phrases[factor]))
        if factor == vocabulary.noun and kind == "nounless":
            return [_uniform(self._words(PRONOUNS)) for _ in values]
        if factor == vocabulary.noun and kind == "stuffed":
            return [_uniform(_stuffed(vocabulary.phrases[factor], value)) for value in values]
        p = min(1.0, self.mention.get(factor, 0.0))
        omitted = vocabulary.fillers[factor] if factor in self.filler else vocabulary.silent(factor)
        return [
            _mixture((p, self._words(vocabulary.phrases[factor][value])), (1 - p, self._words(omitted)))
            for value in values
        ]

    def _write(self, vocabulary: Vocabulary, kind: Noise | Literal["plain"], parts: list[list[int]]) -> list[str]:
        """Texts from numbers: template, whether the token goes in front, and a slot's text for each factor."""
        templates = [template for template, _ in self._templates(vocabulary)]
        wordings = {factor: _all_texts(self._slots(vocabulary, factor, kind)) for factor in vocabulary.phrases}
        front = ("", f"{self.token} ")
        written = []
        for template, marked, *chosen in zip(*parts, strict=True):
            filled = {factor: texts[i] for (factor, texts), i in zip(wordings.items(), chosen, strict=True)}
            written.append(_tidy(front[marked] + templates[template].format(**filled)))
        return written


def prompts(vocabulary: Vocabulary, factor: str, *, given: Mapping[str, int] | None = None) -> list[list[str]]:
    """Prompt ensembles for zero-shot classification: texts that mention one factor alone.

    Args:
        vocabulary: the words.
        factor: the factor to classify.
        given: other factors that every prompt also mentions (in their first wording), and their values.

    Returns:
        for each value of the factor, its distinct prompts: every template with every wording. Slots of other factors
        hold their first wording for not being mentioned.

    Raises:
        UsageError: naming an unknown factor or a value out of range.
    """
    vocabulary.check_factor(factor)
    others = {name: vocabulary.silent(name)[0] for name in vocabulary.phrases}
    for name, value in (given or {}).items():
        vocabulary.check_value(name, value)
        if name == factor:
            raise UsageError(f"given: {factor} is what the prompts are to tell apart")
        others[name] = vocabulary.phrases[name][value][0]
    return [
        list(
            dict.fromkeys(
                _tidy(template.format(**{**others, factor: wording}))
                for template in vocabulary.templates
                for wording in wordings
            )
        )
        for wordings in vocabulary.phrases[factor]
    ]


def _columns(vocabulary: Vocabulary, labels: Mapping[str, Tensor], source: str | None) -> dict[str, Tensor]:
    """The columns that decide captions, on the CPU, checked."""
    counts = {factor: len(values) for factor, values in vocabulary.phrases.items()}
    if source is not None:
        counts[source] = min(counts.get(source, 2), 2)
    columns: dict[str, Tensor] = {}
    for name, count in counts.items():
        if name not in labels:
            raise UsageError(f"labels: factor {name} is missing")
        column = columns[name] = labels[name].cpu()
        if column.ndim != 1 or len(column) != len(next(iter(columns.values()))) or column.is_floating_point():
            raise UsageError(f"labels: factor {name} is {tuple(column.shape)} {column.dtype}: expected (n,) integers")
        outside = (column < 0) | (column >= count)
        if bool(outside.any()):
            raise UsageError(f"labels: factor {name} is {int(column[outside][0])}: its values are 0 to {count - 1}")
    return {name: column.long() for name, column in columns.items()}


def _uniform(texts: Sequence[str]) -> Options:
    return _mixture((1.0, texts))


def _mixture(*parts: tuple[float, Sequence[str]]) -> Options:
    """Each part's texts share its weight evenly; equal texts are joined."""
    found: dict[str, float] = {}
    for weight, texts in parts:
        if weight > 0:
            for text in texts:
                found[text] = found.get(text, 0.0) + weight / len(texts)
    return tuple(found.items())


def _stuffed(phrases: Sequence[Sequence[str]], value: int) -> list[str]:
    """All lists of the right noun and STUFFED_WITH wrong ones, in the vocabulary's order."""
    wrong = [other for other in range(len(phrases)) if other != value]
    chosen = itertools.combinations(wrong, min(STUFFED_WITH, len(wrong)))
    return [" ".join(phrases[noun][0] for noun in sorted((value, *nouns))) for nouns in chosen]


def _all_texts(slots: list[Options]) -> list[str]:
    """The distinct texts of all values, as :func:`_choose_by_value` counts them."""
    return list(dict.fromkeys(text for options in slots for text, _ in options))


def _choose(options: Options, draws: Tensor) -> Tensor:
    """Which option each draw from [0, 1) picks: the inverse of the cumulative distribution."""
    bounds = torch.tensor([p for _, p in options], dtype=torch.float64).cumsum(0)[:-1]
    return torch.bucketize(draws, bounds, right=True)


def _choose_by_value(slots: list[Options], values: Tensor, draws: Tensor) -> Tensor:
    """As :func:`_choose`, from the options of each row's own value; counts through the texts of all values."""
    number = {text: i for i, text in enumerate(_all_texts(slots))}
    chosen = torch.empty_like(values)
    for value, options in enumerate(slots):
        rows = values == value
        chosen[rows] = torch.tensor([number[text] for text, _ in options])[_choose(options, draws[rows])]
    return chosen


def _mixed_radix(parts: list[Tensor]) -> Tensor:
    """One number for each row, equal exactly where all parts are."""
    key, count = torch.zeros_like(parts[0]), 1
    for part in parts:
        base = int(part.max()) + 1
        if count * base > 2**62:  # renumber, so that the key does not overflow
            key, count = torch.unique(key, return_inverse=True)[1], len(key)
        key, count = key * base + part, count * base
    return key


def _slots_of(template: str) -> list[str]:
    """The names of a template's slots."""
    try:
        return [slot for _, slot, _, _ in Formatter().parse(template) if slot is not None]
    except ValueError as error:
        raise UsageError(f"template {template!r} cannot be read: {error}") from None


def _tidy(text: str) -> str:
    """Single spaces, and a or an by the sound that follows."""
    words = text.split()
    for i, word in enumerate(words[:-1]):
        if word == "a" or word == "an":
            words[i] = "an" if _VOWEL_SOUND.match(words[i + 1]) else "a"
    return " ".join(words)
