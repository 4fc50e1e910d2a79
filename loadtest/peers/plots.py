"""Three pictures of a run: throughput against pipeline depth, latency against offered load, cost against data size.

Colours are those of Okabe and Ito, told apart by nearly everybody; every subject has a marker of its own as well, and
Sherd's line is the thick one. Bars reach from the least to the greatest round; subjects stand a little apart so that
they do not cover each other's.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.rows import SHERD, Results, Row
from peers.targets import LEVELDB, LMDB, NUTCRACKER, REDIS, ROCKSDB, TARANTOOL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = {
    SHERD: ("#D55E00", "o"),
    NUTCRACKER: ("#0072B2", "s"),
    REDIS: ("#009E73", "^"),
    TARANTOOL: ("#CC79A7", "D"),
    ROCKSDB: ("#0072B2", "s"),
    LEVELDB: ("#009E73", "^"),
    LMDB: ("#CC79A7", "D"),
}
MARKERS = "os^D"
APART = 0.03
"""Of the place on the x axis, from one subject to the next."""
DOTS_PER_INCH = 150
PANEL_INCHES = (5.2, 3.9)
FELL_BEHIND = 0.97
"""Of the offered load; below, a server did not keep up and its point is hollow."""


def draw_plots(results: Results, directory: Path) -> list[Path]:
    """PNG files of what the run has measured; none without matplotlib, and none for a section that was left out."""
    if importlib.util.find_spec("matplotlib") is None:
        results.absent["plots"] = "Python module matplotlib not installed"
        return []
    pictures = {"throughput.png": _throughput, "latency.png": _latency, "cost.png": _cost}
    drawn = []
    for name, draw in pictures.items():
        if figure := draw(results):
            figure.savefig(directory / name, dpi=DOTS_PER_INCH)
            drawn.append(directory / name)
    return drawn


def _throughput(results: Results) -> Any:
    panels = [
        (f"{workload} {value_bytes}", f"{workload}, {label} values")
        for value_bytes, label in ((100, "100-byte"), (1024, "1 KiB"))
        for workload in ("get", "set")
    ]

    def dress(axes: "Axes") -> None:
        _log_axis(axes, 2, [1, 16, 64], lambda at: f"{at:g}")
        axes.set_xlabel("requests in flight on each of 50 connections")
        axes.set_ylabel("thousand requests/s")
        axes.set_ylim(bottom=0)

    return _grid(results, "servers", panels, 1e-3, dress, "Throughput of servers on one machine")


def _latency(results: Results) -> Any:
    panels = [("p50", "get, median"), ("p99", "get, 99th percentile"), ("p999", "get, 99.9th percentile")]

    def dress(axes: "Axes") -> None:
        axes.set_xlabel("offered load, thousand requests/s")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda at, _: f"{at / 1e3:g}")
        axes.set_ylabel("latency from the scheduled time, us")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda at, _: f"{at:,.0f}")

    title = "Latency under an offered load, 50 connections (hollow: did not keep up)"
    return _grid(results, "latency", panels, 1.0, dress, title, shared_y=True)


def _cost(results: Results) -> Any:
    panels = [("put", "put, unsynced, one at a time"), ("get", "random get, warm")]
    sizes = sorted({row.at for row in results.rows if row.section == "sizes"})

    def dress(axes: "Axes") -> None:
        _log_axis(axes, 10, sizes, lambda at: f"{at:,.0f}")
        axes.set_xlabel("keys in the store (16 bytes, values 100 bytes)")
        axes.set_ylabel("microseconds an operation")
        axes.set_ylim(bottom=0)

    return _grid(results, "sizes", panels, 1.0, dress, "Cost of an operation in process as the data grows")


def _log_axis(axes: "Axes", base: int, ticks: Sequence[float], label: Callable[[float], str]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log", base=base)
    axes.xaxis.set_ticks(list(ticks), [label(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _grid(
    results: Results,
    section: str,
    panels: Sequence[tuple[str, str]],
    scale: float,
    dress: Callable[["Axes"], None],
    title: str,
    *,
    shared_y: bool = False,
) -> Any:
    """A figure with one panel for each series that was measured, or None if none was."""
    from matplotlib.figure import Figure

    measured = {row.series for row in results.rows if row.section == section and row.samples}
    panels = [(series, name) for series, name in panels if series in measured]
    if not panels:
        return None
    columns = len(panels) if len(panels) < 4 else 2
    lines = -(-len(panels) // columns)
    size = (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * lines + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=shared_y)
    drawn: dict[str, Any] = {}
    for axes, (series, name) in zip(grid.flat, panels, strict=False):
        axes.set_title(name, loc="left", fontsize=11)
        for subject in LOOKS:
            if points := list(results.curve(section, series, subject)):
                drawn[subject] = _curve(axes, subject, points, scale)
        dress(axes)
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(title, fontsize=13)
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=len(drawn), frameon=False)
    return figure


def _curve(axes: "Axes", subject: str, points: list[tuple[float, Row]], scale: float) -> Any:
    colour, marker = LOOKS[subject]
    shift = 1 + APART * (MARKERS.index(marker) - 1)
    places = [at * shift for at, _ in points]
    middles = [(row.median(subject) or 0.0) * scale for _, row in points]
    ranges = [[sample.value * scale for sample in row.samples[subject]] for _, row in points]
    below = [middle - min(values) for middle, values in zip(middles, ranges, strict=True)]
    above = [max(values) - middle for middle, values in zip(middles, ranges, strict=True)]
    width = 2.6 if subject == SHERD else 1.4
    axes.errorbar(places, middles, [below, above], color=colour, linewidth=0, elinewidth=1, capsize=3)
    (line,) = axes.plot(places, middles, color=colour, linewidth=width, marker=marker, markersize=6)
    behind = [index for index, (at, row) in enumerate(points) if row.section == "latency" and _behind(row, subject, at)]
    axes.plot(
        [places[index] for index in behind],
        [middles[index] for index in behind],
        linewidth=0, color=colour, marker=marker, markersize=6, markerfacecolor="white",
    )  # fmt: skip
    return line


def _behind(row: Row, subject: str, offered: float) -> bool:
    return any((sample.detail.get("per_second") or 0) < FELL_BEHIND * offered for sample in row.samples[subject])
