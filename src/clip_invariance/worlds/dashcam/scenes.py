"""What decides a dashcam picture: the categorical factors that a caption may mention, and every nuisance."""

from __future__ import annotations

from clip_invariance.worlds.factored import Nuisance, choice, real

#: Categorical factor -> names of its values.
FACTORS: dict[str, tuple[str, ...]] = {
    "light": ("red", "green"),
    "pedestrian": ("none", "waiting", "crossing"),
    "car_colour": ("red", "blue", "green", "yellow", "white", "black"),
    "body": ("car", "van", "truck"),
    "distance": ("near", "far"),
    "weather": ("clear", "rain", "fog"),
    "time": ("day", "dusk", "night"),
    "place": ("city", "country"),
}


BACKDROPS = 6
NOISE_SEEDS = 2**18
LEFT, RIGHT, OVERHEAD = 0, 1, 2

#: Nuisance -> its range. Lengths are metres, unless it says otherwise.
NUISANCES: dict[str, Nuisance] = {
    "light_scale": real(0.85, 1.2, 0.4, 6.0),  # 1: a housing 0.11 of the picture high, lamps two pixels wide at 64
    "light_side": choice(3),  # 0: pole on the left, 1: pole on the right, 2: on an arm over the road
    "light_x": real(0.0, 1.0),  # within the band that its side allows
    "light_height": real(0.0, 1.0),  # 0: at the top of the picture, 1: near the horizon
    "light_housing": choice(3),  # black, yellow, black on a board with a white rim
    "light_hue": real(-1.0, 1.0),  # red towards orange, green towards blue
    "light_distance": real(9.0, 14.0),  # where the pole stands (not the size: that is light_scale)
    "pedestrian_side": choice(2),
    "pedestrian_x": real(0.0, 1.0),  # from the middle of the road outwards
    "pedestrian_distance": real(9.5, 11.5),
    "pedestrian_scale": real(0.9, 1.15, 0.5, 3.0),
    "pedestrian_clothes": choice(8),
    "pedestrian_stride": choice(2),
    "car_depth": real(0.0, 1.0),  # within near or far
    "car_offset": real(-0.2, 0.2, -0.5, 0.5),
    "car_braking": choice(2),
    "lane_offset": real(-0.4, 0.4),  # of the camera in its lane
    "pitch": real(-1.0, 1.0),  # of the camera: moves the horizon by up to 0.04 of the picture
    "backdrop": choice(BACKDROPS),  # clouds, skyline, road surface
    "pan": real(0.0, 1.0),  # of clouds and skyline
    "clutter": choice(2**44),  # which trees and buildings stand where
    "roadside": choice(2**22),  # which signs, lamps and parked cars
    "haze": real(0.7, 1.3, 0.0, 3.0),  # multiplies the weather's haze
    "exposure": real(0.85, 1.15, 0.3, 2.0),
    "blur": real(0.0, 0.6, 0.0, 1.0),  # 1: the kernel [1 2 1] / 4 both ways
    "noise": real(0.006, 0.025, 0.0, 0.2),  # standard deviation, full scale 1
    "noise_seed": choice(NOISE_SEEDS),
}
