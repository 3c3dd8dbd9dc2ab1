"""A dashcam's view: road, weather, the car ahead, a traffic light, a pedestrian; every factor set independently.

Like every world it offers WORLD, and by name FACTORS, NUISANCES, WORDS, NAMES, sample, change and render. Also masks, areas
and coverage. What is drawn is invented; sizes and distances follow a camera 1.35 m above a road.
"""

from clip_invariance.worlds.dashcam.drawing import OWNERS, areas, coverage, masks, render
from clip_invariance.worlds.dashcam.scenes import FACTORS, NUISANCES
from clip_invariance.worlds.dashcam.words import NAMES, WORDS
from clip_invariance.worlds.factored import Scenes, World

__all__ = [
    "FACTORS",
    "NAMES",
    "NUISANCES",
    "OWNERS",
    "WORDS",
    "WORLD",
    "Scenes",
    "areas",
    "change",
    "coverage",
    "masks",
    "render",
    "sample",
]

WORLD = World(FACTORS, NUISANCES, WORDS, render)
sample, change = WORLD.sample, WORLD.change
