"""What to look for in captions: a file of factors, values and words, and how a caption is searched for them.

Both captions and words are brought into one form (:func:`normalise`): lower case, tokens with a space on either side, a bar
for punctuation that parts sentences. A word of the file then is found as a plain substring, " red  light ", which is fast,
is whole words only, and works in every script. Scripts that write without spaces have no whole words: there, a word matches
anywhere.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from clip_invariance.errors import UsageError, printable

#: Bits of a pattern: one for each value of all factors.
MOST_VALUES = 63
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_BREAK = " | "
#: Letters of a name, which becomes a row of tables and of a figure.
MOST_LETTERS = 100
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
#: What a spreadsheet takes for a formula, also in the cells that it makes of a name where a semicolon parts columns.
_FORMULA = re.compile(r"""(?:^|[;,])[\s"']*[=+\-@]""")


class _FactorFile(BaseModel):
    """One factor as the file has it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    values: dict[str, list[str]]
    silence: Literal["unknown", "none"] = "unknown"
    ignore: list[str] = []


@dataclass(frozen=True)
class Factor:
    """A factor to look for.

    Attributes:
        name: as the file calls it.
        words: value -> its words, in the form of :func:`normalise`, with the spaces that they must have on their sides.
        silence: what a caption that names no value says: "unknown" nothing, "none" that there is none of them.
        ignore: phrases to take out first, in the same form.
    """

    name: str
    words: Mapping[str, tuple[str, ...]]
    silence: Literal["unknown", "none"]
    ignore: tuple[str, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values."""
        return tuple(self.words)

    def found(self, text: str) -> pl.Expr:
        """Words that the normalised column ``text`` names, a list: the leftmost, of those the longest, then on behind it."""
        return pl.col(text).str.extract_many(_longest_first([*self.ignore, *self._words()]), leftmost=True)

    def bits(self, first: int) -> dict[str, int]:
        """Each word and the bit of its value, if the first value has the bit ``first``; phrases to take out have none."""
        found = dict.fromkeys(self.ignore, 0)
        for value, words in enumerate(self.words.values()):
            found |= dict.fromkeys(words, 1 << (first + value))
        return found

    def _words(self) -> list[str]:
        return [word for words in self.words.values() for word in words]

    def rest(self, text: str) -> pl.Expr:
        """The normalised column ``text`` without any word of this factor: equal for captions that agree in all else."""
        return pl.col(text).str.replace_many(_longest_first([*self.ignore, *self._words()]), [_BREAK], leftmost=True)


@dataclass(frozen=True)
class Factors:
    """All factors of a file, and its digest."""

    factors: tuple[Factor, ...]
    digest: str

    def bits(self) -> list[tuple[str, str]]:
        """(factor, value) of each bit of a pattern, the lowest first."""
        return [(factor.name, value) for factor in self.factors for value in factor.values]

    def patterns(self, captions: pl.Series) -> pl.Series:
        """UInt64 (n,): which values each caption names, as bits."""
        prepared = pl.DataFrame({"text": normalise(captions)})
        lists = prepared.select(factor.found("text").alias(factor.name) for factor in self.factors)
        pattern, first = np.zeros(len(captions), dtype=np.uint64), 0
        for factor in self.factors:
            words = lists[factor.name]
            rows = np.repeat(np.arange(len(words)), words.list.len().fill_null(0).to_numpy())
            said = words.explode(empty_as_null=False, keep_nulls=False).replace_strict(
                factor.bits(first), return_dtype=pl.UInt64
            )
            np.bitwise_or.at(pattern, rows, said.to_numpy())
            first += len(factor.values)
        return pl.Series("pattern", pattern)


def normalise(texts: pl.Series) -> pl.Series:
    """One form for captions and words: "A red-light; 2 Cars" becomes " a  red  light  |  2  cars ".

    Tokens are letters, marks and digits of any script, in lower case and composed form. White space, hyphens and
    underscores part tokens; any other punctuation is a token of its own, a bar, so that no phrase reaches across it.
    Invisible format characters are dropped. Null stays null.
    """
    text = texts.rename("text")
    other = (text.str.len_bytes() != text.str.len_chars()).fill_null(False)
    if other.any():  # ASCII is composed already and has nothing invisible: most captions are spared the effort
        composed = text.filter(other).str.normalize("NFC").str.replace_all(r"\p{Cf}+", "")
        text = text.scatter(other.arg_true(), composed)
    parted = pl.col("text").str.to_lowercase().str.replace_all(r"[^\p{L}\p{M}\p{N}\p{Pd}_\s]+", "  |  ")
    tidy = parted.str.replace_all(r"[\s\p{Pd}_]+", "  ").str.strip_chars(" ")
    return text.to_frame().select(pl.concat_str([pl.lit(" "), tidy, pl.lit(" ")]).alias("text"))["text"]


def read_factors(path: Path | None) -> Factors:
    """Read a file of factors, or the one for driving scenes that comes with the package.

    Raises:
        UsageError: one line that says what is wrong with the file, by factor, value and word.
    """
    where = str(path) if path else "driving.toml"
    try:
        content = path.read_bytes() if path else example().encode()
        raw = tomllib.loads(content.decode("utf-8-sig"))
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{where}: there is no such file of factors (--example prints one to start from)") from None
    except UnicodeDecodeError:
        raise UsageError(f"{where}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: {error}") from None
    if not raw:
        raise UsageError(f"{where}: names no factor")
    _check_names(where, raw)
    names: dict[str, str] = {}
    for name in raw:
        if names.setdefault(name.casefold(), name) != name:
            raise UsageError(f"{where}: factor {name}: there is a factor {names[name.casefold()]} already")
    factors = tuple(_factor(where, name, table) for name, table in raw.items())
    count = sum(len(factor.values) for factor in factors)
    if count > MOST_VALUES:
        raise UsageError(f"{where}: {count} values in all, at most {MOST_VALUES} are counted at a time: use two files")
    return Factors(factors, hashlib.sha256(content).hexdigest())


def example() -> str:
    """The file of factors for driving scenes."""
    return resources.files("clip_invariance.audit.captions").joinpath("driving.toml").read_text(encoding="utf-8")


def _check_names(where: str, table: Mapping[str, object]) -> None:
    """Refuse names that do harm where they are shown: on a terminal, or in the table that a spreadsheet opens.

    Args:
        where: the file, for the message.
        table: what TOML has; the keys of all tables in it are looked at, since messages show those that are unknown.

    Raises:
        UsageError: for the first such name, which it spells out.
    """
    for name, inside in table.items():
        reason = ""
        if any(unicodedata.category(letter) in _UNSEEN for letter in name):
            reason = "has a character that is not seen (a line break, an escape, a mark of direction): take it out"
        elif len(name) > MOST_LETTERS:
            reason = f"has {len(name):,} characters, at most {MOST_LETTERS}: shorten it"
        elif _FORMULA.search(unicodedata.normalize("NFKC", name)):  # of full width is a formula, too
            reason = "would be a formula in a spreadsheet: no = + - @ at its beginning or behind a comma or semicolon"
        if reason:
            raise UsageError(f"{where}: the name {printable(name, 60)} {reason}")
        if isinstance(inside, dict):
            _check_names(where, inside)


def _factor(where: str, name: str, table: object) -> Factor:
    try:
        read = _FactorFile.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"][0].lower() + first["msg"][1:]
        if first["type"] == "extra_forbidden":
            reason = "unknown key; there are values, silence and ignore"
        raise UsageError(f"{where}: factor {name}{f', {key}' if key else ''}: {reason}") from None
    if not read.values:
        raise UsageError(f"{where}: factor {name} has no values")
    seen: dict[str, str] = {}
    words: dict[str, tuple[str, ...]] = {}
    for value, listed in read.values.items():
        if value.casefold() in {other.casefold() for other in words}:
            raise UsageError(f"{where}: factor {name}: two values are called {value}")
        if not listed:
            raise UsageError(f"{where}: factor {name}: value {value} has no words")
        words[value] = tuple(dict.fromkeys(_padded(where, name, listed)))
        for word, written in zip(_padded(where, name, listed), listed, strict=True):
            if seen.setdefault(word, value) != value:
                raise UsageError(
                    f"{where}: factor {name}: the word {written!r} is in two values, {seen[word]} and {value}"
                )
    return Factor(name, words, read.silence, tuple(_padded(where, name, read.ignore)))


def _padded(where: str, factor: str, words: Sequence[str]) -> list[str]:
    """Words as they stand in normalised captions: with a space on each side where their script puts one."""
    found = []
    for written, word in zip(words, normalise(pl.Series(words, dtype=pl.String)), strict=True):
        if not word.replace("|", "").strip():
            raise UsageError(f"{where}: factor {factor}: the word {written!r} has no letters or digits")
        bare = word[1:-1]
        left, right = ("" if _unspaced(bare[end]) else " " for end in (0, -1))
        found.append(f"{left}{bare}{right}")
    return found


def _unspaced(character: str) -> bool:
    """Whether a character belongs to a script that does not part words by spaces."""
    return unicodedata.name(character, "").startswith(_UNSPACED)


def _longest_first(phrases: Sequence[str]) -> list[str]:
    """Where two begin at one place, the first in the list is taken."""
    return sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase))
