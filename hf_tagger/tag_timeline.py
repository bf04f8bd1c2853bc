"""Which tags sound when: the windows that hear each second of a recording.

A cell of the timeline (usually a second) is heard by the window whose middle is the cell's own; at the ends of the
recording by the first or the last window::

    recording  |==========================================|
    cells      |...|...|...|...|...|...|...|...|...|...|..|
    windows    [-------x-----]                                  of the cells whose middle it does not reach
                       [-----x-------]                          of the cell in its middle
                                             [-----x------]

Cells that are longer than a window are covered by several, whose mean they get. The windows that tell the tags of the
whole recording are others in general: these tags are the same whether a timeline is asked for or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from .models.windowing import window_starts


@dataclass(frozen=True)
class TimelineWindows:
    """The windows of one recording, for its tags and for its timeline; each is computed once.

    Attributes:
        tag_starts: First samples of the windows that tell its tags, ascending.
        cell_starts: First samples of the windows that hear each cell.
        cell_edges: Borders of the cells in samples, from 0 to the recording's end.
    """

    tag_starts: Sequence[int]
    cell_starts: Sequence[Sequence[int]]
    cell_edges: Sequence[int]

    @classmethod
    def of(cls, num_samples: int, tag_starts: Sequence[int], window: int, step: int) -> TimelineWindows:
        """The windows of a recording.

        Args:
            num_samples: Its length in samples.
            tag_starts: See above.
            window: Length of a window in samples.
            step: Length of a cell in samples; the last one ends where the recording ends.
        """
        edges = [*range(0, num_samples, step), num_samples]
        last = max(num_samples - window, 0)
        cells = []
        for begin, end in pairwise(edges):
            if end - begin > window:
                cells.append([begin + start for start in window_starts(end - begin, window, window)])
            else:
                cells.append([min(max((begin + end - window) // 2, 0), last)])
        return cls(tag_starts, cells, edges)

    @property
    def starts(self) -> list[int]:
        """First samples of all windows to compute, ascending."""
        return sorted({*self.tag_starts, *chain.from_iterable(self.cell_starts)})

    def of_tags(self, windows: np.ndarray) -> np.ndarray:
        """Probabilities of the windows that tell the tags: of all windows ``[windows, labels]`` → ``[own, labels]``."""
        return windows[np.searchsorted(self.starts, self.tag_starts)]

    def of_cells(self, windows: np.ndarray) -> np.ndarray:
        """Probabilities of the cells: of all windows ``[windows, labels]`` → ``[cells, labels]``."""
        starts = self.starts
        return np.stack([windows[np.searchsorted(starts, own)].mean(axis=0) for own in self.cell_starts])
