"""Place labels in a crowded scatter plot: apart from each other and off the markers.

All lengths are in points (1/72 inch) of the panel, so that placement depends on the size of letters, not on the data.
"""

from __future__ import annotations

import numpy as np

MARKER_RADIUS = 4.0
LETTER = np.array([2.1, 4.2])
"""Half width of one character and half height of a line, in points, at the size the figures use."""
_STEPS = 400


def merge_close(places: np.ndarray, distance: float) -> list[list[int]]:
    """Group the indices of points closer than `distance` to the first of their group; places: (n, 2)."""
    groups: list[list[int]] = []
    for index, place in enumerate(places):
        for group in groups:
            if np.linalg.norm(places[group[0]] - place) < distance:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def spread_labels(anchors: np.ndarray, markers: np.ndarray, lengths: list[int]) -> np.ndarray:
    """Centres (n, 2) of labels for `anchors` (n, 2), clear of all `markers` (m, 2) where there is room.

    lengths: characters of each label. Labels start outside their cluster. Then boxes that overlap push each other
    apart along the axis of least overlap, and a weak spring holds each near its anchor. Nothing is random.
    """
    half = np.array([[length, 1] for length in lengths]) * LETTER + np.array([1.0, 0.0])
    apart = anchors[:, None] - anchors[None]
    near = np.linalg.norm(apart, axis=2) < 60
    outward = (apart * near[..., None]).sum(axis=1) + np.array([1e-3, 2e-3])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    rest = anchors + outward * (half + MARKER_RADIUS + 1)
    centres = rest.copy()
    for step in range(_STEPS):
        pull = 0.03 * (1 - step / _STEPS)  # 0 at the end, so that it leaves no overlap
        between = _push(centres, centres, half[:, None] + half[None], skip_self=True) / 2
        off_marker = _push(centres, markers, (half + MARKER_RADIUS)[:, None], skip_self=False)
        centres = centres + 0.5 * (between + off_marker) + pull * (rest - centres)
    return centres


def _push(centres: np.ndarray, others: np.ndarray, reach: np.ndarray, *, skip_self: bool) -> np.ndarray:
    """Sum over `others` of the shifts that would end each overlap, along the axis of least overlap."""
    delta = centres[:, None] - others[None]
    overlap = reach - np.abs(delta)
    hit = (overlap > 0).all(axis=2)
    if skip_self:
        np.fill_diagonal(hit, False)
    axis = overlap.argmin(axis=2)[..., None] == np.arange(2)
    side = np.where(delta >= 0, 1.0, -1.0)
    # Two labels at the same place get the same sign; the order of the rows decides their directions.
    if skip_self:
        order = np.sign(np.arange(len(centres))[:, None] - np.arange(len(centres))[None])[..., None]
        side = np.where(delta == 0, order, side)
    return (np.where(axis & hit[..., None], overlap, 0) * side).sum(axis=1)
