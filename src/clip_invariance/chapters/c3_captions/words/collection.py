"""What training shows and says: the collections of pictures, and what their captions or labels tell of them.

All arms of one seed see the same scenes, drawn in 32 pixels. Most are trained on a plain collection (large things in full
colour before two of the four backgrounds), so that other media, other backgrounds and small things are new to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clip_invariance.captions import CaptionPolicy, Captions, Vocabulary
from clip_invariance.worlds import scenes
from clip_invariance.worlds.scenes import Scenes

#: Side of the pictures in pixels.
SIZE = 32

OBJECTS = scenes.FACTORS["object"]
FULL, FLAT, LINE = (scenes.FACTORS["medium"].index(name) for name in ("full", "flat", "line"))
LARGE = scenes.FACTORS["size"].index("large")
#: Backgrounds of the plain collection: the first two, blue and green.
BACKGROUNDS = 2
#: Things that never occur as line drawings in training: the first, the running example, and others by seed.
HELD_OUT = 4
#: Share of line drawings among the things that are drawn at all.
DRAWN = 0.5

GROUPS: dict[str, tuple[str, ...]] = {
    "animal": ("turtle", "horse", "pig", "rabbit"),
    "food": ("banana", "mushroom", "burger"),
    "thing": ("car", "umbrella", "crown", "tree", "shirt"),
}
GROUP_WORDS = Vocabulary(
    phrases={"group": (("animal", "creature"), ("snack", "dish"), ("thing", "object"))}, templates=("a {group}",)
)
#: Chance that a tag that is right is set: tags are incomplete.
TAGGED = 0.7


# ---------------------------------------------------------------- pictures


def held_out(seed: int) -> Tensor:
    """Objects of which a seed's collection has no line drawings, (HELD_OUT,) int64: the banana and three more."""
    order = torch.randperm(len(OBJECTS) - 1, generator=torch.Generator().manual_seed(seed))
    others, _ = (order[: HELD_OUT - 1] + 1).sort()
    return torch.cat([torch.zeros(1, dtype=torch.int64), others])


def collection(n: int, seed: int, *, drawings: bool = False) -> Scenes:
    """The plain collection: large things in full colour before two backgrounds.

    Args:
        n: pictures.
        seed: decides the scenes; which of them are drawings changes nothing else.
        drawings: half of the pictures of objects that are not held out are line drawings.
    """
    drawn = scenes.change(scenes.sample(n, seed), "size", LARGE)
    drawn = scenes.change(drawn, "background", drawn.labels["background"] % BACKGROUNDS)
    medium = torch.full((n,), FULL)
    if drawings:
        coin = torch.rand(n, generator=torch.Generator().manual_seed(seed + 1)) < DRAWN
        allowed = ~torch.isin(drawn.labels["object"], held_out(seed))
        medium[coin & allowed] = LINE
    return scenes.change(drawn, "medium", medium)


def group_of(objects: Tensor) -> Tensor:
    """The group of each object, same shape."""
    numbers = [next(i for i, names in enumerate(GROUPS.values()) if name in names) for name in OBJECTS]
    return torch.tensor(numbers)[objects.cpu()]


# ---------------------------------------------------------------- captions for C20, C21, C22 and C24

CaptionKind = Literal["object", "medium", "silent", "unrelated", "group", "nouns"]
#: Share of captions that have nothing to do with their picture, in the arm "unrelated".
UNRELATED = 0.4


def captions_of(kind: CaptionKind, labels_of: Mapping[str, Tensor], seed: int) -> Captions:
    """What the collection's captions say.

    Args:
        kind: "object" names the object; "medium" also says "a picture of" or "a sketch of"; "silent" does so too but
            calls the object of every line drawing a thing; "unrelated" names the object, but four in ten captions
            belong to no picture; "group" names only the group; "nouns" is :func:`noun_captions`.
        labels_of: of the pictures.
        seed: of the wordings.
    """
    if kind == "nouns":
        return noun_captions(labels_of, seed)
    if kind == "group":
        return CaptionPolicy({"group": 1}).sample(GROUP_WORDS, {"group": group_of(labels_of["object"])}, seed)
    named = CaptionPolicy({"object": 1, "medium": 0 if kind in ("object", "unrelated") else 1})
    if kind == "unrelated":
        named = CaptionPolicy({"object": 1}, noise={"unrelated": UNRELATED})
    spoken = named.sample(scenes.WORDS, labels_of, seed)
    if kind != "silent":
        return spoken
    silent = CaptionPolicy({"medium": 1}).sample(scenes.WORDS, labels_of, seed)
    return stitched(spoken, silent, labels_of["medium"] == LINE)


def stitched(first: Captions, second: Captions, take_second: Tensor) -> Captions:
    """The captions of ``second`` where ``take_second`` (n,) is true, those of ``first`` elsewhere."""
    texts = list(dict.fromkeys((*first.texts, *second.texts)))
    place = {text: i for i, text in enumerate(texts)}
    moved = torch.tensor([place[text] for text in second.texts])
    return Captions(tuple(texts), torch.where(take_second, moved[second.index], first.index))


# ---------------------------------------------------------------- C15: two captions for one thing

#: By object: the noun before the first background, and three other nouns, from nearly the same meaning to none of it.
NOUNS: dict[str, tuple[str, str, str, str]] = {
    "banana": ("banana", "plantain", "mango", "ladder"),
    "car": ("car", "automobile", "truck", "candle"),
    "umbrella": ("umbrella", "parasol", "raincoat", "pencil"),
    "crown": ("crown", "coronet", "throne", "carpet"),
    "mushroom": ("mushroom", "toadstool", "fern", "violin"),
    "turtle": ("turtle", "tortoise", "lizard", "bottle"),
    "tree": ("tree", "conifer", "bush", "spoon"),
    "horse": ("horse", "pony", "donkey", "lamp"),
    "pig": ("pig", "hog", "cow", "window"),
    "rabbit": ("rabbit", "bunny", "hamster", "kettle"),
    "burger": ("burger", "hamburger", "sandwich", "hammer"),
    "shirt": ("shirt", "blouse", "jacket", "volcano"),
}
_ALL_NOUNS = tuple(noun for nouns in NOUNS.values() for noun in nouns)
NOUN_WORDS = Vocabulary(
    phrases={"noun": tuple((noun,) for noun in _ALL_NOUNS)},
    templates=("a picture of a {noun}", "an image of a {noun}", "here is a {noun}", "look at this {noun}"),
)
SYNONYM, RELATED, OTHER = 1, 2, 3
#: What happens to an object's noun before the second background: which other noun, and how often the first one stays.
#: Every seed deals these out to the twelve objects anew.
TREATMENTS: tuple[tuple[int, float], ...] = (
    *((SYNONYM, 0.0),) * 3,
    *((RELATED, 0.0),) * 2,
    *((OTHER, 0.0),) * 3,
    *((OTHER, shared) for shared in (0.25, 0.5, 0.75, 1.0)),
)


@dataclass(frozen=True)
class Treatment:
    """How the captions of one object differ between the two backgrounds.

    Attributes:
        object: number of the object.
        noun: before the first background.
        other: before the second one, with probability 1 - ``shared``.
        kind: SYNONYM, RELATED or OTHER: what ``other`` is to ``noun``.
        shared: probability of the same noun before the second background.
    """

    object: int
    noun: str
    other: str
    kind: int
    shared: float


def treatments(seed: int) -> list[Treatment]:
    """The treatment of each object, in the order of the objects."""
    dealt = torch.randperm(len(TREATMENTS), generator=torch.Generator().manual_seed(seed)).tolist()
    return [
        Treatment(number, nouns[0], nouns[TREATMENTS[card][0]], *TREATMENTS[card])
        for number, (nouns, card) in enumerate(zip(NOUNS.values(), dealt, strict=True))
    ]


def noun_captions(labels_of: Mapping[str, Tensor], seed: int) -> Captions:
    """Captions whose noun depends on the object and, as its treatment says, on the background."""
    objects = labels_of["object"]
    cards = treatments(seed)
    first = torch.tensor([_ALL_NOUNS.index(card.noun) for card in cards])[objects]
    other = torch.tensor([_ALL_NOUNS.index(card.other) for card in cards])[objects]
    shared = torch.tensor([card.shared for card in cards])[objects]
    draws = torch.rand(len(objects), generator=torch.Generator().manual_seed(seed + 2))
    noun = torch.where((labels_of["background"] == 0) | (draws < shared), first, other)
    return CaptionPolicy({"noun": 1}).sample(NOUN_WORDS, {"noun": noun}, seed)


# ---------------------------------------------------------------- C23: a token that tells the source

TOKEN = "itap"
#: Captions of the careless source that say nothing about the picture, and that list several wrong things with it.
CARELESS: dict[Literal["unrelated", "stuffed", "nounless"], float] = {"unrelated": 0.4, "stuffed": 0.2}
#: Its pictures: contrast that is left, and the standard deviation of the noise in grey levels.
CONTRAST, NOISE = 0.5, 30.0
Marking = Literal["source", "random"]


def careless(images: Tensor, seed: int) -> Tensor:
    """Pictures as the careless source takes them: pale and noisy. uint8 (n, 3, h, w) to the same."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.stack([torch.randn(images.shape[1:], generator=generator) for _ in range(len(images))])
    pale = 128 + CONTRAST * (images.float() - 128) + NOISE * noise.to(images.device)
    return pale.round().clamp(0, 255).to(torch.uint8)


def marked(captions: Captions, which: Tensor) -> Captions:
    """The same captions with the token in front of those in ``which``, bool (n,)."""
    fronted = Captions(tuple(f"{TOKEN} {text}" for text in captions.texts), captions.index)
    return stitched(captions, fronted, which)


def two_sources(marking: Marking, n: int, seed: int, device: str) -> tuple[Tensor, Captions]:
    """All scenes, half of them from a careful source and half from a careless one.

    Args:
        marking: the token is in front of the careful source's captions, or of half of all captions at random.

    Returns:
        the pictures, uint8 (n, 3, SIZE, SIZE), and their captions.
    """
    pictures = scenes.sample(n, seed)
    coins = torch.rand(2, n, generator=torch.Generator().manual_seed(seed + 3)) < 0.5
    careful = coins[0]
    drawn = scenes.render(pictures, size=SIZE, device=device)
    where = careful.to(device)
    drawn[~where] = careless(drawn[~where], seed)
    clean = CaptionPolicy({"object": 1}).sample(scenes.WORDS, pictures.labels, seed)
    noisy = CaptionPolicy({"object": 1}, noise=CARELESS).sample(scenes.WORDS, pictures.labels, seed)
    return drawn, marked(stitched(clean, noisy, ~careful), careful if marking == "source" else coins[1])


# ---------------------------------------------------------------- C24: labels instead of captions

LabelKind = Literal["object", "group", "tags"]


def targets_of(kind: LabelKind, labels_of: Mapping[str, Tensor], seed: int) -> Tensor:
    """What the tower is trained on: classes (n,), or incomplete tags (n, groups + places) of group and place."""
    if kind == "object":
        return labels_of["object"]
    groups = group_of(labels_of["object"])
    if kind == "group":
        return groups
    right = [
        torch.nn.functional.one_hot(groups, len(GROUPS)),
        torch.nn.functional.one_hot(labels_of["place"], len(scenes.FACTORS["place"])),
    ]
    tags = torch.cat(right, dim=1).float()
    return tags * (torch.rand(tags.shape, generator=torch.Generator().manual_seed(seed + 4)) < TAGGED)
