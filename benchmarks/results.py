"""Write RESULTS.md from what the scripts kept: every row, the lost ones too.

    python benchmarks/results.py

What no script measured on this machine is taken over from the RESULTS.md that stands, word by word, with its date.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measure import CONTRACT, FLOOR, RESULTS

HERE = Path(__file__).parent
ORDER = (
    "QC metrics", "normalise", "variable genes", "PCA", "neighbour graph", "Leiden", "UMAP", "markers",
    "50 signatures", "h5ad", "whole preset", "cold start", "threads",
)  # fmt: skip


def when(path: Path) -> str:
    """Return when a script kept this."""
    return f"{datetime.datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M}"


class Row(NamedTuple):
    """What RESULTS.md says of one race."""

    name: str
    data: str
    cells: int
    bars: list[str]  # lines of the first table
    section: list[str]

    @property
    def place(self) -> tuple:
        first = next((k for k, name in enumerate(ORDER) if self.name.startswith(name)), len(ORDER))
        return first, *self[:3]

    @property
    def is_missed(self) -> bool:
        return any("missed" in line.rsplit("|", 2)[1] for line in self.bars)

    @property
    def is_near(self) -> bool:
        """Tell whether a bar is met by less than a tenth."""
        for line in self.bars:
            _, _, _, _, bar, cpu, *_, wall, verdict = (
                c.strip() for c in line.strip("|").split("|")
            )
            least, found = (float(figure.split()[0].rstrip("x")) for figure in (bar, cpu or wall))
            if verdict == "met" and (found / least if cpu else least / found) < NEAR:
                return True
        return False


def of_race(race: dict[str, Any]) -> Row:
    """Return the row of what a script kept."""
    return Row(race["row"], race["data"], race["cells"], bar_lines(race), race_table(race))


def standing_rows(lines: list[str]) -> list[Row]:
    """Return the rows of a RESULTS.md."""
    bars: dict[tuple, list[str]] = {}
    for line in section_of(lines, "## Bars"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[2:3] and cells[2].replace(",", "").isdigit():
            bars.setdefault((cells[0], cells[1], cells[2]), []).append(line)
    rows = []
    for title in (line for line in lines if line.startswith("### ")):
        name, data, cells = re.fullmatch(r"### (.+): (.+), ([\d,]+) cells", title).groups()
        own = bars.get((name, data, cells), [])
        rows.append(Row(name, data, int(cells.replace(",", "")), own, section_of(lines, title)))
    return rows


def section_of(lines: list[str], title: str) -> list[str]:
    """Return a section of a RESULTS.md with its title, up to the next of its level or above."""
    if title not in lines:
        return []
    start = lines.index(title)
    level = title.partition(" ")[0]
    ends = (k for k in range(start + 1, len(lines)) if re.match(rf"#{{2,{len(level)}}} ", lines[k]))
    return lines[start : next(ends, len(lines))]


def median(rounds: list[dict[str, float]], key: str) -> float:
    return float(np.median([r[key] for r in rounds]))


def ratio(race: dict[str, Any], tool: str, key: str) -> float:
    """Return the median over rounds of the rival's figure over ours."""
    ours = race["spent"][next(iter(race["spent"]))]
    return float(np.median([b[key] / a[key] for b, a in zip(race["spent"][tool], ours)]))


def at_most(race: dict[str, Any], rival: str, floor: str) -> float:
    """Return what the ratio would be if ours took no more than a floor; infinite without one below ours."""
    if floor not in race["spent"] or ratio(race, floor, "cpu") > 1:
        return np.inf
    pairs = zip(race["spent"][rival], race["spent"][floor])
    return float(np.median([b["cpu"] / a["cpu"] for b, a in pairs]))


def verdict_on(cpu: float, bar: float, most: float, under_contract: float) -> str:
    if cpu >= bar:
        return "met"
    if most < bar:
        return "**missed**, out of reach"
    return "**missed**, out of reach under our contract" if under_contract < bar else "**missed**"


NEAR = 1.1
ALONE, ALONE_BAR = "50 signatures per cluster", 0.05  # no rival: its bar is of wall seconds


BARS = [
    "| step | data | cells | rival | bar | CPU ratio | at most | under our contract | wall ratio | |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def bar_lines(race: dict[str, Any]) -> list[str]:
    lines = []
    what = f"| {race['row']} | {race['data']} | {race['cells']:,}"
    for rival, bar in race["bars"].items():
        if rival not in race["spent"]:
            lines.append(f"{what} | {rival} | {bar:g}x | did not end | | | | |")
            continue
        cpu, wall = ratio(race, rival, "cpu"), ratio(race, rival, "wall")
        limits = [at_most(race, rival, floor) for floor in (FLOOR, CONTRACT)]
        said = " | ".join("" if limit == np.inf else f"{limit:.1f}x" for limit in limits)
        lines.append(
            f"{what} | {rival} | {bar:g}x | {cpu:.2f}x | {said} | {wall:.2f}x "
            f"| {verdict_on(cpu, bar, *limits)} |"
        )
    if race["row"].startswith(ALONE):
        wall = median(race["spent"]["cellsigil"], "wall")
        verdict = "met" if wall <= ALONE_BAR else "**missed**"
        lines.append(f"{what} | none | {ALONE_BAR:g} s | | | | {wall:.2f} s | {verdict} |")
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
    touched = "Memory touched before each call. " if race.get("memory_touched") else ""
    versions = ", ".join(f"{name} {version}" for name, version in race["versions"].items())
    lines += ["", f"Measured {race['measured']}. {touched}{versions}", ""]
    return lines


def kept(name: str) -> dict[str, Any]:
    """Return what a script that races nobody kept, if it ran."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def growth() -> list[str]:
    points = kept("growth")
    if not points:
        return []
    lines = [
        "## How cost grows",
        "",
        "![CPU seconds and peak memory against cells](growth.png)",
        "",
    ]
    lines += [
        "The whole preset on simulated cells, one run a point; scanpy's Wilcoxon on one gene in 30, multiplied. Memory "
        "is that of the calls in a notebook; `cellsigil run` leaves counts on disk meanwhile, see above.",
        "",
    ]
    lines += ["| tool | cells | CPU s | wall s | peak MB |", "|---|---|---|---|---|"]
    for tool, runs in points.items():
        for n, run in runs.items():
            lines.append(
                f"| {tool} | {int(n):,} | {run['cpu']:.1f} | {run['wall']:.1f} | {run['peak']:.0f} |"
            )
    return [*lines, ""]


HELD = "## Memory of a step"
AGREEMENT = "## Clusters: agreement with scanpy's and with the truth"


def agreement() -> list[str]:
    found = kept("agreement")
    if not found:
        return []
    lines = [AGREEMENT, ""]
    lines += [
        "Adjusted Rand index, mean (least to most) over ten seeds each; carried on: 20 iterations of igraph's Leiden, "
        "not two; modularity on our graph, mean. `agreement.py`.",
        "",
    ]
    indices = [
        "scanpy with itself", "ours with scanpy", "ours with scanpy carried on", "ours with itself",
        "scanpy with truth", "ours with truth",
    ]  # fmt: skip
    qualities = ["modularity, scanpy", "modularity, scanpy carried on", "modularity, ours"]
    lines += [
        "| | " + " | ".join(f"{d}, {run['cells']:,} cells" for d, run in found.items()) + " |"
    ]
    lines += ["|---" * (1 + len(found)) + "|"]
    for what in indices:
        spans = [run[what] for run in found.values()]
        cells = [f"{s['mean']:.3f} ({s['least']:.3f} to {s['most']:.3f})" for s in spans]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    for what in qualities:
        lines.append(
            f"| {what} | {' | '.join(f'{run[what]["mean"]:.4f}' for run in found.values())} |"
        )
    lines += [
        "",
        "On the 240 cells of three lines ours agree with scanpy's less than those with each other: partitions into "
        "5 and into 6 clusters are .0003 of modularity apart there; ours end in either, scanpy's carried on in the "
        "second.",
    ]
    return [*lines, ""]


LAYOUTS = "## Layouts: quality on real data"
LEAST_TRUST, LEAST_KEPT = -0.003, 0.95  # beside umap-learn's


def layouts() -> list[str]:
    found = kept("layouts")
    if not found:
        return []
    lines = [
        LAYOUTS,
        "",
        "Means over ten seeds each (standard deviations), all on our graph. The bar: trustworthiness within "
        f"{-LEAST_TRUST} of umap-learn's, neighbours kept at least {LEAST_KEPT} of its. `layout.py`.",
        "",
        "| data | cells | measure | cellsigil | umap-learn | crest | ours beside umap-learn's | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, run in found.items():
        for measure in ("trustworthiness", "neighbours kept"):
            each = {tool: values[measure] for tool, values in run["tools"].items()}
            mean = {tool: float(np.mean(values)) for tool, values in each.items()}
            cells = [f"{mean[tool]:.4f} ({np.std(each[tool], ddof=1):.4f})" for tool in each]
            if measure == "trustworthiness":
                beside = mean["cellsigil"] - mean["umap-learn"]
                says, met = f"{beside:+.4f}", beside >= LEAST_TRUST
            else:
                beside = mean["cellsigil"] / mean["umap-learn"]
                says, met = f"{beside:.3f}x", beside >= LEAST_KEPT
            verdict = "met" if met else "**missed**"
            lines.append(
                f"| {name} | {run['cells']:,} | {measure} | {' | '.join(cells)} | {says} | {verdict} |"
            )
    return [*lines, ""]


def cold_start() -> list[str]:
    found = kept("cold_start")
    if not found:
        return []
    lines = [
        "## Cold start",
        "",
        "`cellsigil run` on pbmc3k, CPU seconds, medians of three fresh processes.",
        "",
    ]
    lines += ["| | kernels' cache empty | filled | bar |", "|---|---|---|---|"]
    bars = {"total": "40 (empty)", "imports and kernels": "4.5 (filled)"}
    for row, (empty, filled) in found.items():
        lines.append(f"| {row} | {empty:.1f} | {filled:.1f} | {bars.get(row, '')} |")
    lines += [
        "",
        "The first run ever is as fast as the machine is: between 30 and 45 on one whose two cores are threads of one "
        "that others use too (2026-11-30, 35.4 the last), 19.7 on one with two cores of its own (2026-12-01). The "
        "processes keep byte code, as those of an installed package do.",
    ]
    return [*lines, ""]


def memory() -> list[str]:
    found = kept("memory")
    if not found:
        return []
    lines = [
        "## Memory of a run",
        "",
        "`cellsigil run`, report included, on simulated cells: resident MB.",
    ]
    lines += ["The bar at 100,000 cells is 3,500. `memory.py`.", ""]
    lines += ["| | " + " | ".join(f"{int(n):,} cells" for n in found) + " |"]
    lines += ["|---" * (1 + len(found)) + "|"]
    for row in ("counts", "peak"):
        lines.append(f"| {row} | " + " | ".join(f"{run[row]:.0f}" for run in found.values()) + " |")
    steps = dict.fromkeys(step for run in found.values() for step in run["steps"])
    steps.pop("start", None)  # before the first step: caught or not
    for step in steps:
        peaks = [f"{run['steps'].get(step, 0):.0f}" for run in found.values()]
        lines.append(f"| {step} | " + " | ".join(peaks) + " |")
    return [*lines, ""]


def held() -> list[str]:
    found = kept("held")
    if not found:
        return []
    columns = list(dict.fromkeys((row["data"], row["cells"]) for row in found))
    lines = [
        HELD,
        "",
        "What a step holds beside what it returns, MB of resident memory, and as a share of the counts' values and "
        "indices; each in a process of its own. `held.py`.",
        "",
        "| step | bar | "
        + " | ".join(f"{data}, {cells:,} cells" for data, cells in columns)
        + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for step in dict.fromkeys(row["step"] for row in found):
        own = [row for row in found if row["step"] == step]
        shares = [row["held"] / row["counts"] for row in own]
        cells = [
            f"{row['held']:.0f}, {share:.2f}x{'' if share <= row['bar'] else ' **missed**'}"
            for row, share in zip(own, shares)
        ]
        lines.append(f"| {step} | {own[0]['bar']}x | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        "With samples, what is held are the samples' statistics (9 numbers a group and gene, 4 more a sample), which "
        "a small count matrix is not much larger than; no budget for reordered values makes them fewer.",
        "",
    ]


# Why a bar is missed, with what was measured: what a row's name starts with, and the sentence.
WHY = {
    "QC metrics": "CREST's call measures totals, numbers of genes and one gene set, for which ours takes less too (the "
    "row of what CREST measures); ours also measures top-n shares (.01 CPU s at 20,000 cells of pbmc3k) and two more "
    "sets, whose names it has to find among all genes (.004). The ratio strays by a tenth from run to run.",
    "normalise": "scanpy writes over its counts; ours makes a matrix beside them, as does our contract's floor. One "
    "call (`pp.normalize_hvg`) passes over the counts twice, for totals and to write; the same by two calls stands "
    "beside it. Of 11 M entries (pbmc3k, 20,000 cells) on one thread it takes .005 CPU s to check them, .002 for "
    "totals and what they span, .006 to touch fresh memory, .026 to look up, add and write, .003 for the indices' "
    "copy, .004 for tables and columns. Six runs on two machines gave scanpy's ratio there as 1.94, 1.77, 1.89, 2.11, "
    "1.93 and 2.13, with counts kept as 1.97 to 2.35; at 100,000 cells as 1.88, 2.12, 3.82, 2.05, 1.65 and 1.69, "
    "with counts kept as 1.98 to 2.15: what fresh memory costs strays, and scanpy touches twice as much of it.",
    "variable genes, cell_ranger": "As seurat's, without expm1, and without the copy for it that scanpy makes there.",
    "variable genes, seurat_v3": "At 20,000 cells of pbmc3k: a check .009, sums .023, the second look at what is "
    "beyond the limits .020, loess .012 CPU s.",
    "variable genes, seurat": "Our contract's floor alone needs more than a third of scanpy's time, on a machine with "
    "two cores of its own as before on two threads of one. The floors take expm1 in float32, as scanpy does, and the "
    "bare one adds up in the order of storage. Of 39 M entries on one thread ours takes .013 CPU s to check them, .006 "
    "to find what they span, .04 for expm1 in float64, .06 to add up exactly, in any order of the cells (four words a "
    "gene, not two), as a mean's last bits decide sorts, and .01 for tables. To check, "
    "span and add in one walk that stays in the cache, in units that grow, was written and gained nothing: what is "
    "fetched ahead is not waited for. A table of a row's values, so that equal ones are worked out once, took .85 of "
    "seurat's sums on simulated cells, 1.1 on pbmc3k and more of cell_ranger's. Tiles of genes whose sums stay in the "
    "first cache take 1.06 to 2.8 times as long as one walk, 64-bit integers, two words a gene, 1.03 to 1.10.",
    "PCA": "Of 20,000 resampled cells the Gram matrix takes .08, products with it .05 (sixteen vectors by eight rows, "
    "sums in lanes; .08 with sums across registers, when arpack's ratio was 1.46), small eigenproblems .03, the "
    "search for the chosen genes' entries and the projection .02 CPU s; arpack multiplies by the sparse matrix, cheap "
    "while entries are few.",
    "neighbour graph, fresh process": "The floor imports anndata and numba and loads one kernel, with which numba sets "
    "itself up (scipy.linalg, its tables of types): 1.1 to 1.4 CPU s. The search takes .25 to .31 (20,000 cells) and "
    "2.3 to 2.4 (100,000) more, by the rows above, our imports and other kernels .1 to .2.",
    "neighbour graph": "pynndescent stops at a recall of .845 (simulated, 100,000 cells) to .973 (pbmc3k, 100,000), "
    "ours goes on to .99 and reaches .993 to .997; the bar is at higher recall.",
    "Leiden, default": "CREST makes one run, for which ours takes half as much (the rows of one seed, `n_runs=1`); "
    "the default is two, combined, and carried on where that gained something, which puts the modularity at igraph's "
    "converged on the real graphs or above (by .0021 at most) and .0003 to .0015 above CREST's; of pbmc3k resampled "
    ".0002 (20,000 cells) and .0005 (100,000) below converged, .0022 and .0017 above CREST's. Nine rounds there "
    "strayed from .75 to 1.21, around 1.00, 1.06 and .98 in three sessions (20,000 cells), 1.08 and 1.15 in a fourth, "
    "on two cores of its own. Cheaper ways were "
    "measured: two "
    "runs of one round each, carried on for longer, would take .72 to .87 of ours and lose .0001 to .0007; carrying "
    "on for one round only .85, and .0001 to .0005, most at 50,000 cells.",
    "Leiden, one seed": "On graphs of 300 to 2,700 cells a call takes 1 to 9 ms, of which .5 to 2 are reading and "
    "checking the graph and writing a categorical column.",
    "UMAP layout": "The chain of a vertex's attractions, each from where the last one left it, is latency, not "
    "bytes.",
    "markers, samples": "Many groups are 89 clusters of 20,000 cells, 3,916 pairs of them for each of 16,000 genes: "
    "counting and summarising pairs take 1, each gene's best rank in any pair .75, the rest (moments, the table, "
    "samples) 1.7 CPU s, illico's plain Wilcoxon 1.7.",
    "markers": "scanpy: the floor brings entries into columns, sorts each and adds up ranks, values and squares by "
    "group, no table made (of 100,000 simulated cells sorted columns alone take 1.95 CPU s, a 78th of scanpy's). "
    "illico with many "
    "groups (89 clusters of 20,000 cells): the table of 1.4 million rows and 15 columns takes half of ours, of which "
    "logarithms of p .03, two sorts of each group's genes .04 and scanpy's form .07 CPU s; illico's "
    "has two columns.",
    ALONE: "The variance inflation of each set needs the cells: every entry has to be looked at and checked once. Of "
    "100,000 simulated cells (197 M entries) that alone takes .036 s on two cores, the table from the statistics .008; "
    "to pick the sets' entries out of what lies in the cache takes .045 more, so that even hidden behind the check it "
    "would be .053. To draw 10,000 cells by what they hold and read no others was written: of 20,000 cells of pbmc3k "
    "it moved the inflations by .024 (standard deviation, .064 at most), as sets with rare genes vary by few cells. A "
    "faster answer that differs is none.",
    "h5ad write": "Both write through h5py; ratios stray by a tenth from run to run.",
    "h5ad": "The structure and every count are checked (.013 CPU s at 20,000 cells); in X and the layer, the "
    "counts are copied besides (.027), as they must not share memory: beside anndata with the same copy (counts "
    "kept) ours takes as much or "
    "less, but for a tenth by which ratios of this row stray from run to run.",
    "whole preset": "The issue sets its bar for 20,000 and 100,000 cells. Of pbmc3k's own 2,700, 500 epochs of the "
    "layout, whose own bar is 4x, take .44 of ours, PCA .22.",
}


def why(rows: list[Row]) -> list[str]:
    missed = {row.name for row in rows if row.is_missed}
    near = {row.name for row in rows if row.is_near} - missed
    lines = ["## Missed, and why", "", *explained(missed, "not looked into yet.")]
    lines += [
        "",
        "## Met by less than a tenth",
        "",
        "Such a ratio is below its bar in some runs.",
        "",
    ]
    return [*lines, *explained(near, "within a tenth of its bar."), ""]


def explained(names: set[str], otherwise: str) -> list[str]:
    """Return a line for the rows that one sentence of `WHY` is of, and for each of which none is."""
    lines, left = [], set(names)
    for start, sentence in WHY.items():
        own = sorted(name for name in left if name.startswith(start))
        left -= set(own)
        lines += [f"- **{', '.join(own)}**: {sentence}"] if own else []
    return lines + [f"- **{name}**: {otherwise}" for name in sorted(left)]


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main() -> None:
    standing = (HERE / "RESULTS.md").read_text().splitlines()
    rows = {row.place: row for row in standing_rows(standing)}
    for path in RESULTS.glob("*.json"):
        if path.stem not in ("growth", "agreement", "layouts", "cold_start", "memory", "held"):
            row = of_race(json.loads(path.read_text()) | {"measured": when(path)})
            rows[row.place] = row
    in_order = [rows[place] for place in sorted(rows)]
    lines = [
        "# What cellsigil costs, and what its rivals cost",
        "",
        "Written by `make bench` from what its scripts kept, on "
        f"{datetime.date.today():%Y-%m-%d}: {processor()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}. Ratios are a rival's figure over ours, in CPU seconds summed over "
        "threads, pair by pair in one run, medians of the rounds; above 1 we need less. The machine is shared: ratios "
        "can be compared, seconds hardly. Peak is the rise of resident memory during the call (for the whole preset: "
        "of the process). The first touch of memory that the host took back costs 2 CPU s a GB here, whoever comes "
        "first: where a row says so, memory was used and given back before each call. Each row says when it was "
        "measured, some on another machine of the kind: the code may have moved on since.",
        "",
        "## Bars",
        "",
        "At most: the ratio of a program that does nothing but the row's floor (what none can leave out, without "
        "checks and on one thread: see the row). A bar above it is out of reach on this machine. Under our contract: "
        "that of a program that also does, in the same pass and on one thread, what DESIGN.md asks of every step: "
        "checks each value and index, adds up in two words, as sums that no order of the cells changes must be, and "
        "makes arrays of its own. Where that program took more than ours, it is no floor, and none is said.",
        "",
        *BARS,
        *(line for row in in_order for line in row.bars),
        "",
        *why(in_order),
        *(cold_start() or section_of(standing, "## Cold start")),
        *(memory() or section_of(standing, "## Memory of a run")),
        *(held() or section_of(standing, HELD)),
        *(growth() or section_of(standing, "## How cost grows")),
        *(agreement() or section_of(standing, AGREEMENT)),
        *(layouts() or section_of(standing, LAYOUTS)),
        "## All rows",
        "",
    ]
    for row in in_order:
        lines += [*row.section, *([""] if row.section[-1] else [])]
    (HERE / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
