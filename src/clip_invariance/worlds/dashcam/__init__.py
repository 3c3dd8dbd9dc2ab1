"""A dashcam's view: road, weather, the car ahead, a traffic light, a pedestrian; every factor set independently.

Five names every world offers: FACTORS, Scenes, sample, render, change (and WORDS, how English names the factors; NAMES,
how figures do). Also NUISANCES, masks, areas and coverage. What is drawn is invented; sizes and distances follow a camera
1.35 m above a road.
"""

from clip_invariance.worlds.dashcam.drawing import OWNERS, areas, coverage, masks, render
from clip_invariance.worlds.dashcam.scenes import FACTORS, NUISANCES, change, sample
from clip_invariance.worlds.dashcam.words import NAMES, WORDS
from clip_invariance.worlds.factored import Scenes

__all__ = [
    "FACTORS",
    "NAMES",
    "NUISANCES",
    "OWNERS",
    "WORDS",
    "Scenes",
    "areas",
    "change",
    "coverage",
    "masks",
    "render",
    "sample",
]
