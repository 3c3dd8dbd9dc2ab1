"""How people would caption a dashcam picture: the car ahead comes first, the rest if anyone cares to mention it."""

from __future__ import annotations

from dataclasses import dataclass

from clip_invariance.captions import Vocabulary

#: All wordings of one factor, fillers included, have the same number of words, so that leaving a factor out, or talking
#: about nothing instead, can be told apart from making the caption shorter.
WORDS = Vocabulary(
    phrases={
        "light": (
            ("at a red light", "facing a red light"),
            ("at a green light", "facing a green light"),
        ),
        "pedestrian": (
            ("and nobody on foot", "with no pedestrian there"),
            ("and a pedestrian waiting", "with a person waiting"),
            ("and a pedestrian crossing", "with a person crossing"),
        ),
        "car_colour": (
            ("red", "crimson"),
            ("blue", "navy"),
            ("green", "emerald"),
            ("yellow", "golden"),
            ("white", "pale"),
            ("black", "dark"),
        ),
        "body": (("car", "sedan"), ("van", "minivan"), ("truck", "lorry")),
        "distance": (("close ahead", "just ahead"), ("far ahead", "way ahead")),
        "weather": (
            ("in clear weather", "under clear skies"),
            ("in rainy weather", "in the rain"),
            ("in foggy weather", "in the fog"),
        ),
        "time": (
            ("during the day", "in the daylight"),
            ("in the dusk", "in the twilight"),
            ("in the night", "in the dark"),
        ),
        "place": (("in the city", "in a town"), ("in the country", "in a village")),
    },
    templates=(
        "a {car_colour} {body} {distance} on the road {light} {pedestrian} {weather} {time} {place}",
        "a {car_colour} {body} {distance} {pedestrian} {light} {place} {weather} {time}",
        "following a {car_colour} {body} {distance} {place} {time} {weather} {light} {pedestrian}",
        "{car_colour} {body} driving {distance} {light} {weather} {pedestrian} {time} {place}",
    ),
    unmentioned={"body": ("vehicle",)},
    fillers={
        "light": ("in the usual way", "like every other time"),
        "pedestrian": ("and all the rest", "with other things there"),
        "car_colour": ("certain", "usual"),
        "body": ("vehicle", "one"),
        "distance": ("as usual", "like always"),
        "weather": ("as it happens", "for the record"),
        "time": ("as it is", "once or twice"),
        "place": ("and so on", "one more time"),
    },
    noun="body",
)


@dataclass(frozen=True)
class Name:
    """How figures and sentences about these pictures call a factor.

    Attributes:
        row: beside a row of dots.
        sentence: after "accuracy for".
        short: over a narrow column.
    """

    row: str
    sentence: str
    short: str


NAMES: dict[str, Name] = {
    "light": Name("light", "the light", "light"),
    "pedestrian": Name("somebody crossing", "somebody crossing", "crossing"),
    "car_colour": Name("car's colour", "the car's colour", "colour"),
    "body": Name("car's body", "the car's body", "body"),
    "distance": Name("car near or far", "the car's distance (near or far)", "distance"),
    "weather": Name("weather", "the weather", "weather"),
    "time": Name("time of day", "the time of day", "time"),
    "place": Name("city or country", "city or country", "place"),
}
