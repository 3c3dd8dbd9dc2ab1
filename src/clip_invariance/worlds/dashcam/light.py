"""How time of day and weather change colours: one row for each of the nine conditions (3 * time + weather)."""

from __future__ import annotations

import numpy as np

CONDITIONS = 9
# Rows: day, dusk, night. What falls on things, and what the air looks like, in linear-ish RGB from 0 to 1.
_AMBIENT = np.array([[1.0, 1.0, 1.0], [0.80, 0.62, 0.56], [0.31, 0.33, 0.45]])
_AIR = np.array([[0.80, 0.83, 0.86], [0.62, 0.50, 0.50], [0.15, 0.16, 0.21]])
# Columns: clear, rain, fog.
_WEATHER = np.array([[1.0, 1.0, 1.0], [0.66, 0.70, 0.75], [0.84, 0.85, 0.86]])
_HAZE = np.array([0.002, 0.02, 0.085])

#: (9, 3) multiplies diffuse colours.
TINT = (_AMBIENT[:, None] * _WEATHER[None]).reshape(9, 3).astype(np.float32)
#: (9, 3) the colour that distant things fade to.
AIR = (_AIR[:, None] * np.array([1.0, 0.85, 1.0])[None, :, None]).reshape(9, 3).astype(np.float32)
#: (9,) haze per metre.
HAZE = np.tile(_HAZE, 3).astype(np.float32)
#: (9,) how much windows, headlights and street lamps shine: 0 by day, 1 at night.
LAMPS = np.repeat(np.array([0.0, 0.6, 1.0], dtype=np.float32), 3)
#: (9, 3, 3) colours of the sky: top, middle, horizon.
SKY = np.array(
    [
        [[0.22, 0.45, 0.80], [0.45, 0.66, 0.90], [0.78, 0.86, 0.93]],
        [[0.40, 0.43, 0.48], [0.50, 0.53, 0.57], [0.62, 0.65, 0.68]],
        [[0.72, 0.75, 0.78], [0.77, 0.80, 0.82], [0.80, 0.83, 0.86]],
        [[0.20, 0.20, 0.42], [0.62, 0.36, 0.42], [0.97, 0.62, 0.35]],
        [[0.24, 0.22, 0.28], [0.36, 0.31, 0.35], [0.52, 0.43, 0.42]],
        [[0.48, 0.40, 0.44], [0.56, 0.46, 0.47], [0.62, 0.50, 0.50]],
        [[0.02, 0.03, 0.08], [0.04, 0.05, 0.12], [0.10, 0.10, 0.18]],
        [[0.05, 0.05, 0.07], [0.07, 0.07, 0.10], [0.12, 0.11, 0.14]],
        [[0.11, 0.12, 0.15], [0.13, 0.14, 0.18], [0.16, 0.17, 0.21]],
    ],
    dtype=np.float32,
)
