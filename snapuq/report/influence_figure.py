"""Figure of the groups that set the error bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from snapuq.report.figures import Drawing
from snapuq.report.influence import main_quantities
from snapuq.report.style import BLUE, LIGHT, new_figure, plain
from snapuq.report.text import percent
from snapuq.results.influence import CONFIGURATION, GROUP, LinearisedQuantity, Share

# Groups drawn for each quantity; the rest is one more bar.
_MOST_BARS = 6
_COLUMNS = 3


def influence_drawings(rows: Sequence[LinearisedQuantity], shares: Sequence[Share]) -> Iterator[Drawing]:
    """Draw the shares of the groups for a few quantities.

    Parameters
    ----------
    rows : sequence of LinearisedQuantity
        All quantities.
    shares : sequence of Share
        Of their variances, largest first.

    Yields
    ------
    Drawing
        One, inside `snapuq.report.style.styled`; none without shares.
    """
    bars = [
        (row, found)
        for row in main_quantities(rows)
        if (found := _bars([s for s in shares if (s.label, s.quantity) == (row.label, row.quantity)]))
    ]
    if not bars:
        return
    lines = -(-len(bars) // _COLUMNS)
    tallest = max(len(found) for _, found in bars)
    largest = max(value for _, found in bars for _, value, _ in found)
    figure, axes = new_figure(lines * (0.65 + 0.19 * tallest), lines, _COLUMNS)
    for ax in axes.flat[len(bars) :]:
        ax.set_visible(False)
    for ax, (row, found) in zip(axes.flat, bars, strict=False):
        names, values, are_groups = zip(*found, strict=True)
        colours = [BLUE if is_group else LIGHT for is_group in are_groups]
        drawn = ax.barh(range(len(found)), values, color=colours, height=0.7)
        ax.bar_label(drawn, [percent(v) for v in values], padding=2, fontsize=6.5)
        ax.set_yticks(range(len(found)), [plain(name, 24) for name in names])
        ax.set_ylim(tallest - 0.4, -0.6)
        ax.set_xlim(0.0, 1.3 * largest)
        ax.set_xticks([])
        ax.spines["bottom"].set_visible(False)
        ax.set_title(f"{plain(row.label, 32)}\n{plain(row.quantity, 32)}", fontsize=7.5)
    yield Drawing(
        "attribution",
        "Shares of training groups",
        "Share of each group of training configurations in the variance of a quantity: where its error bar "
        "comes from. Pale: the other groups together, and what belongs to no configuration.",
        figure,
    )


def _bars(shares: Sequence[Share]) -> list[tuple[str, float, bool]]:
    """Name, share and whether it is a group."""
    groups = [s for s in shares if s.kind == GROUP]
    found = [(s.name, s.share, True) for s in groups[:_MOST_BARS]]
    if len(groups) > _MOST_BARS:
        rest = sum(s.share for s in groups[_MOST_BARS:])
        found.append((f"{len(groups) - _MOST_BARS} other groups", rest, False))
    found += [(s.name, s.share, False) for s in shares if s.kind not in (GROUP, CONFIGURATION) and s.share]
    return found
