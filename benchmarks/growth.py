"""How time and memory grow with the number of cells, ours and scanpy's: a plot and its numbers.

    python benchmarks/growth.py [DATA_FOLDER] [CELLS ...]

The whole way of preset.py on our simulator's matrices, each point one run in a process of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from _data import simulated
from _measure import RESULTS
from preset import run_apart

SIZES = ("5000", "10000", "20000", "50000", "100000", "200000")
COLORS = {"cellsigil": "#0072b2", "scanpy": "#d55e00"}  # Okabe and Ito: told apart by everyone


def draw(points: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for tool, runs in points.items():
        cells = [int(n) for n in runs]
        for ax, key, scale in zip(axes, ("cpu", "peak"), (1, 1e-3)):
            values = [run[key] * scale for run in runs.values()]
            ax.plot(cells, values, "o-", color=COLORS[tool], label=tool)
            last = f"{values[-1]:,.0f}" if values[-1] >= 100 else f"{values[-1]:.3g}"
            ax.annotate(
                last,
                (cells[-1], values[-1]),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    for ax, label in zip(axes, ("CPU seconds", "peak memory of the process, GB")):
        ax.set(xscale="log", yscale="log", xlabel="cells", ylabel=label)
        ax.set_xticks([int(n) for n in SIZES], [f"{int(n) // 1000}k" for n in SIZES])
        ax.minorticks_off()
        ax.yaxis.set_major_formatter("{x:,g}")
        ax.margins(x=0.1, y=0.12)
        ax.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(folder: str = "../shared/data", *sizes: str) -> None:  # noqa: ARG001
    path = RESULTS / "growth.json"
    points: dict[str, dict[str, dict[str, float]]] = {tool: {} for tool in COLORS}
    if sizes and path.exists():  # other sizes are kept
        points = json.loads(path.read_text())
    for n in sizes or SIZES:
        for tool in points:
            if (spent := run_apart(tool, simulated(int(n)))) is not None:
                points[tool][n] = spent
                print(
                    f"{tool:10s} {n:>7s} cells  CPU {spent['cpu']:8.1f} s  wall {spent['wall']:8.1f} s  "
                    f"peak {spent['peak']:7.0f} MB",
                    flush=True,
                )
    points = {
        tool: dict(sorted(runs.items(), key=lambda run: int(run[0])))
        for tool, runs in points.items()
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(points, indent=1))
    draw(points, Path(__file__).with_name("growth.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
