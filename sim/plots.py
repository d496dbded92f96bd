"""Plots of measured figures; matplotlib is all they need."""

import json
from pathlib import Path
from typing import Any

from dorefabric.hw.errors import DorefabricError

__all__ = ["plot_methods", "read_methods"]

NAMES = {"dorefa": "DoReFa-Net", "aqe": "AQE", "plus-minus": "±1 planes", "mls": "MLS", "a2q": "A2Q"}
FLOAT_BITS = 32


def read_methods(path: str | Path) -> dict[str, Any]:
    """The report of `dorefabric bench methods --json`.

    Raises
    ------
    DorefabricError
        If the file cannot be read or is another report.
    """
    try:
        report: dict[str, Any] = json.loads(Path(path).read_text())
        for row in report["rows"]:
            _ = row["name"], row["method"], [float(value) for value in row["accuracies"]]
            _weight, _activation, _gradient = (int(bits) for bits in row["bits"])
    except OSError as error:
        raise DorefabricError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise DorefabricError(f"{path} is no report of `dorefabric bench methods --json`") from None
    if not any(row["accuracies"] for row in report["rows"]):
        raise DorefabricError(f"{path} holds no accuracies")
    return report


def plot_methods(report: dict[str, Any], output: str | Path) -> None:
    """Plot test accuracy against plane pairs, W times A, which are the array's work for a product.

    A point is the mean over the seeds, its bar runs from the least to the largest; the label is W-A, with G where
    gradients are quantized. The float network and float methods are lines across.

    Parameters
    ----------
    report : dict
        As `read_methods` returns it.
    output : path
        Its ending chooses the format: ``.png``, ``.svg``, ``.pdf``.

    Raises
    ------
    DorefabricError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colours: dict[str, Any] = {}
    taken: dict[float, int] = {}
    for row in report["rows"]:
        if not row["accuracies"]:
            continue
        weight, activation, gradient = row["bits"]
        percent = [100 * value for value in row["accuracies"]]
        mean = sum(percent) / len(percent)
        if weight == FLOAT_BITS:
            line = "-" if row["method"] == "dorefa" else ":"
            axes.axhline(mean, label=f"{row['name']}, {mean:.2f} %", color="black", linestyle=line)
            continue
        x = weight * activation
        taken[x] = taken.get(x, -1) + 1        # points of as many plane pairs stand side by side
        place = x * 1.06 ** taken[x]
        spread = [[mean - min(percent)], [max(percent) - mean]]
        method = row["method"]
        label = None if method in colours else NAMES.get(method, method)
        bar = axes.errorbar(place, mean, spread, fmt="o", capsize=3, color=colours.get(method), label=label)
        colours[method] = bar.lines[0].get_color()
        text = f"{weight}-{activation}" + ("" if gradient == FLOAT_BITS else f"-{gradient}")
        axes.annotate(text, (place, mean), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=7)
    ticks = sorted(taken)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("plane pairs of a product, W × A")
    axes.set_ylabel("test accuracy in %")
    axes.margins(y=0.1)
    axes.set_title(str(report.get("summary", "")).partition(":")[0], fontsize=9)
    axes.legend(fontsize=8, loc="lower right")
    try:
        figure.savefig(output, dpi=150)
    except (OSError, ValueError) as error:
        raise DorefabricError(f"cannot write {output}: {getattr(error, 'strerror', None) or error}") from None
