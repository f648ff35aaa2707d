"""Units that belong to several languages at once: UpSet plot, and Venn diagram of three."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from langneurons.reporting import style
from langneurons.reporting.figures.canvas import blank, short, tip
from langneurons.reporting.numbers import count, listing, number


def memberships(units: pd.DataFrame) -> dict[tuple[str, ...], int]:
    """Number of units by the exact combination of languages they belong to.

    Args:
        units: language, layer and index of every unit of one neuron set.

    Returns:
        Languages (in order of their first appearance) to number of units, largest first.
    """
    order = list(dict.fromkeys(units["language"]))
    place = {name: at for at, name in enumerate(order)}
    groups = units.groupby(["layer", "index"])["language"]
    found = Counter(tuple(sorted(set(group), key=place.__getitem__)) for _, group in groups)
    return dict(sorted(found.items(), key=lambda item: (-item[1], len(item[0]))))


def upset(units: pd.DataFrame, most: int = 24) -> Figure:
    """UpSet plot (Lex et al., IEEE TVCG 20, 2014) of the languages of one neuron set.

    Args:
        units: language, layer and index of every unit.
        most: Largest number of combinations shown.
    """
    languages = list(dict.fromkeys(units["language"]))
    found = memberships(units)
    shown = list(found.items())[:most]
    sizes = units.groupby("language").size()
    figure = blank(1.7 + 0.2 * len(languages))
    heights = [1.2, 0.2 * len(languages)]
    grid = figure.add_gridspec(2, 2, width_ratios=[1, 4], height_ratios=heights)
    bars = figure.add_subplot(grid[0, 1])
    dots = figure.add_subplot(grid[1, 1], sharex=bars)
    left = figure.add_subplot(grid[1, 0], sharey=dots)
    for x, (names, size) in enumerate(shown):
        (bar,) = bars.bar(x, size, color=style.BLUE, width=0.7)
        bars.text(x, size, number(size, 0), ha="center", va="bottom", fontsize=7)
        tip(bar, f"{listing(list(names), 20)}: {count(size, 'unit')}, in no other language")
        rows = [languages.index(name) for name in names]
        dots.plot(
            [x] * len(languages), range(len(languages)), "o", color=style.GREY, ms=3, alpha=0.3
        )
        dots.plot([x] * len(rows), rows, "-o", color=style.BLUE, ms=5, lw=1.4)
    bars.set_ylabel("units")
    bars.tick_params(axis="x", length=0, labelbottom=False)
    bars.margins(y=0.15)
    rest = sum(found.values()) - sum(size for _, size in shown)
    if rest:
        bars.set_title(f"{count(len(found) - len(shown), 'smaller combination')} not shown")
    for row, name in enumerate(languages):
        (bar,) = left.barh(row, sizes[name], color=style.GREY, height=0.6)
        tip(bar, f"{name}: {count(int(sizes[name]), 'unit')}")
    left.invert_xaxis()
    left.set_xlabel("units")
    left.set_ylim(len(languages) - 0.5, -0.5)
    left.spines["left"].set_visible(False)
    left.tick_params(axis="y", length=0, labelleft=False)
    dots.set_yticks(range(len(languages)), [short(name) for name in languages])
    dots.tick_params(length=0, labelbottom=False)
    for spine in dots.spines.values():
        spine.set_visible(False)
    return figure


def closest(units: pd.DataFrame) -> tuple[str, str, str]:
    """The three languages of a set that share most units, counted over their pairs.

    Args:
        units: language, layer and index of every unit; at least three languages.
    """
    members = {
        str(name): set(zip(group["layer"], group["index"], strict=True))
        for name, group in units.groupby("language", sort=False)
    }
    shared = {
        frozenset(pair): len(members[pair[0]] & members[pair[1]])
        for pair in combinations(members, 2)
    }
    return max(
        combinations(members, 3),
        key=lambda three: sum(shared[frozenset(pair)] for pair in combinations(three, 2)),
    )


_CENTRES = ((-0.5, 0.29), (0.5, 0.29), (0.0, -0.58))
_RADIUS = 0.85
_NAMES = ((-0.85, 1.27), (0.85, 1.27), (0.0, -1.58))


def venn(units: pd.DataFrame, languages: Sequence[str]) -> Figure:
    """Venn diagram of three languages: number of units in each of the seven regions.

    Args:
        units: language, layer and index of every unit of one neuron set.
        languages: Three languages.
    """
    counted = memberships(units[units["language"].isin(list(languages))])
    figure = blank(3.2, 3.6)
    axes = figure.subplots()
    centres = np.array(_CENTRES)
    for place, (name, centre) in enumerate(zip(languages, centres, strict=True)):
        colour = style.PALETTE[place]
        axes.add_patch(Circle(tuple(centre), _RADIUS, facecolor=colour, alpha=0.25, linewidth=0))
        axes.add_patch(Circle(tuple(centre), _RADIUS, fill=False, edgecolor=colour, linewidth=1.2))
        size = int((units["language"] == name).sum())
        x, y = _NAMES[place]
        axes.text(x, y, f"{short(name, 16)} (n = {number(size, 0)})", ha="center", va="center")
    for many in (1, 2, 3):
        for chosen in combinations(range(3), many):
            names = {languages[at] for at in chosen}
            size = sum(n for key, n in counted.items() if set(key) == names)
            middle = centres[list(chosen)].mean(axis=0)
            x, y = middle * {1: 1.45, 2: 1.35, 3: 1.0}[many]
            axes.text(x, y, number(size, 0), ha="center", va="center", fontsize=9)
    axes.set_xlim(-1.6, 1.6)
    axes.set_ylim(-1.75, 1.45)
    axes.set_aspect("equal")
    axes.axis("off")
    return figure
