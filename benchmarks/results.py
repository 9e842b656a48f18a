"""Write RESULTS.md from what the scripts kept: every row, the lost ones too.

python benchmarks/results.py
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from _measure import RESULTS

HERE = Path(__file__).parent
ORDER = (
    "QC metrics", "normalise", "variable genes", "PCA", "neighbour graph", "Leiden", "UMAP", "markers",
    "50 signatures", "h5ad", "whole preset", "cold start", "threads",
)  # fmt: skip


def place(race: dict[str, Any]) -> tuple:
    first = next((k for k, name in enumerate(ORDER) if race["row"].startswith(name)), len(ORDER))
    return first, race["row"], race["data"], race["cells"]


def median(rounds: list[dict[str, float]], key: str) -> float:
    return float(np.median([r[key] for r in rounds]))


def ratio(race: dict[str, Any], tool: str, key: str) -> float:
    """Return the median over rounds of the rival's figure over ours."""
    ours = race["spent"][next(iter(race["spent"]))]
    return float(np.median([b[key] / a[key] for b, a in zip(race["spent"][tool], ours)]))


def bars_table(races: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| step | data | cells | rival | bar | CPU ratio | wall ratio | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for race in races:
        for rival, bar in race["bars"].items():
            if rival not in race["spent"]:
                lines.append(
                    f"| {race['row']} | {race['data']} | {race['cells']:,} | {rival} | {bar:g}x | did not end | | |"
                )
                continue
            cpu, wall = ratio(race, rival, "cpu"), ratio(race, rival, "wall")
            verdict = "met" if cpu >= bar else "**missed**"
            lines.append(
                f"| {race['row']} | {race['data']} | {race['cells']:,} | {rival} | {bar:g}x "
                f"| {cpu:.2f}x | {wall:.2f}x | {verdict} |"
            )
    return lines


def race_table(race: dict[str, Any]) -> list[str]:
    lines = [f"### {race['row']}: {race['data']}, {race['cells']:,} cells", ""]
    lines += [
        "| tool | CPU s | wall s | peak MB | CPU / ours | rounds | quality, notes |",
        "|---|---|---|---|---|---|---|",
    ]
    for tool, rounds in race["spent"].items():
        said = [f"{k} {v:.4g}" for k, v in race["quality"].get(tool, {}).items()]
        said += [race["notes"][tool]] if tool in race["notes"] else []
        peak = median(rounds, "peak")
        lines.append(
            f"| {tool} | {median(rounds, 'cpu'):.3g} | {median(rounds, 'wall'):.3g} | "
            f"{'' if np.isnan(peak) else f'{peak:.0f}'} | {ratio(race, tool, 'cpu'):.2f} | {len(rounds)} "
            f"| {'; '.join(said)} |"
        )
    if race["limit"] is not None:
        ours = median(next(iter(race["spent"].values())), "cpu")
        lines += [
            "",
            f"Limit {race['limit']:.3g} CPU s ({race['limit_says']}); ours is {ours / race['limit']:.1f} times it.",
        ]
    lines += ["", ", ".join(f"{name} {version}" for name, version in race["versions"].items()), ""]
    return lines


def growth() -> list[str]:
    path = RESULTS / "growth.json"
    if not path.exists():
        return []
    points = json.loads(path.read_text())
    lines = [
        "## How cost grows",
        "",
        "![CPU seconds and peak memory against cells](growth.png)",
        "",
    ]
    lines += [
        "The whole preset on simulated cells, one run a point; scanpy's Wilcoxon on one gene in 30, multiplied.",
        "",
    ]
    lines += ["| tool | cells | CPU s | wall s | peak MB |", "|---|---|---|---|---|"]
    for tool, runs in points.items():
        for n, run in runs.items():
            lines.append(
                f"| {tool} | {int(n):,} | {run['cpu']:.1f} | {run['wall']:.1f} | {run['peak']:.0f} |"
            )
    return [*lines, ""]


def agreement() -> list[str]:
    path = RESULTS / "agreement.json"
    if not path.exists():
        return []
    lines = ["## Clusters: agreement with scanpy's and with the truth", ""]
    lines += ["Adjusted Rand index, mean (least to most) over ten seeds each. `agreement.py`.", ""]
    names = (
        "scanpy with itself",
        "ours with scanpy",
        "ours with itself",
        "scanpy with truth",
        "ours with truth",
    )
    lines += ["| data | cells | " + " | ".join(names) + " |", "|---" * (2 + len(names)) + "|"]
    for data, found in json.loads(path.read_text()).items():
        cells = [
            f"{found[k]['mean']:.3f} ({found[k]['least']:.3f} to {found[k]['most']:.3f})"
            for k in names
        ]
        lines.append(f"| {data} | {found['cells']:,} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main() -> None:
    races = sorted(
        (
            json.loads(p.read_text())
            for p in RESULTS.glob("*.json")
            if p.stem not in ("growth", "agreement")
        ),
        key=place,
    )
    lines = [
        "# What cellsigil costs, and what its rivals cost",
        "",
        f"Written by `make bench` on {datetime.date.today():%Y-%m-%d}: {processor()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}. Ratios are a rival's figure over ours, in CPU seconds summed over "
        "threads, pair by pair in one run, medians of the rounds; above 1 we need less. The machine is shared: ratios "
        "can be compared, seconds hardly. Peak is the rise of resident memory during the call (for the whole preset: "
        "of the process).",
        "",
        "## Bars",
        "",
        *bars_table(races),
        "",
        *growth(),
        *agreement(),
        "## All rows",
        "",
    ]
    for race in races:
        lines += race_table(race)
    (HERE / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
