"""The cell simulator: type profiles from real counts, donors, library sizes, ambient RNA, damaged cells.

Every number that a cell or a bulk sample is drawn from is a parameter here, so that the truth is known:
which type a cell has, what share of cells and of RNA each type holds in a bulk sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True)
class Profiles:
    """What is kept of the real cells: per-type profiles and sizes, no cell."""

    genes: list[str]
    types: list[str]
    share: np.ndarray  # (n_types, n_genes): expected share of each gene, rows sum to 1
    content: np.ndarray  # (n_types,): mean UMI of a cell
    spread: np.ndarray  # (n_types,): sd of log UMI of a cell
    related: np.ndarray  # (n_types,): index of the most alike other type


@dataclass(frozen=True)
class Variation:
    """How far donors, cells and platforms stray from the profiles (sd on the natural-log scale)."""

    donor: float = 0.10  # every gene of a donor
    donor_variable: float = 0.5  # a donor's few strongly variable genes
    donor_variable_share: float = 0.03
    donor_type: float = 0.08  # a gene in one type of one donor
    capture: float = 0.25  # a donor's capture efficiency
    content: float = 0.08  # a donor's RNA content per type
    overdispersion: float = 0.15  # gamma-Poisson: variance = mean + overdispersion * mean^2
    towards_related: float = 0.08  # mean share of a cell's profile borrowed from the related type
    programmes: int = 8  # gene programmes (activation, stress ...) that run through all types
    programme_genes: float = 0.04  # share of genes in a programme
    programme: float = (
        0.35  # a programme's effect on a gene of it, per sd of its activity in a cell
    )
    ambient: float = 0.03  # share of a cell's counts that comes from the soup
    damaged: float = 0.03  # share of cells that leaked: few counts, many of them mitochondrial
    platform: float = 0.5  # gene-wise difference between cells and bulk


@dataclass(frozen=True)
class Donor:
    """One person: own profiles, own RNA content per type, own mixture of types, own capture."""

    name: str
    share: np.ndarray
    content: np.ndarray
    fractions: np.ndarray
    capture: float


def estimate_profiles(
    counts: sp.csr_matrix, labels: np.ndarray, genes: list[str], pseudo_counts: float = 4000.0
) -> Profiles:
    """Estimate type profiles from labelled counts, smoothed towards the mean of all types.

    ``pseudo_counts`` of the mean profile are added to each type: they fill the zeros of a small
    type (15 cells hold some 24 thousand counts) and hardly touch a large one.
    """
    types = sorted(set(labels))
    totals = np.asarray(counts.sum(1)).ravel()
    sums = np.vstack([np.asarray(counts[labels == t].sum(0)).ravel() for t in types])
    overall = sums.sum(0) / sums.sum()
    share = sums + pseudo_counts * overall
    share /= share.sum(1, keepdims=True)
    content = np.array([totals[labels == t].mean() for t in types])
    spread = np.array([np.log(totals[labels == t]).std() for t in types])
    alike = np.corrcoef(np.log1p(share * 1e4))
    np.fill_diagonal(alike, -1)
    return Profiles(list(genes), types, share, content, spread, alike.argmax(1))


def draw_donor(
    name: str, profiles: Profiles, mean_fractions: np.ndarray, vary: Variation, rng
) -> Donor:
    """Draw a donor's own profiles, RNA content, type fractions and capture efficiency."""
    n_types, n_genes = profiles.share.shape
    sd = np.where(rng.random(n_genes) < vary.donor_variable_share, vary.donor_variable, vary.donor)
    effect = rng.normal(0, 1, n_genes) * sd + rng.normal(0, vary.donor_type, (n_types, n_genes))
    share = profiles.share * np.exp(effect)
    share /= share.sum(1, keepdims=True)
    content = profiles.content * np.exp(rng.normal(0, vary.content, n_types))
    fractions = rng.dirichlet(40 * mean_fractions)
    return Donor(name, share, content, fractions, float(np.exp(rng.normal(0, vary.capture))))


def draw_programmes(profiles: Profiles, vary: Variation, rng) -> np.ndarray:
    """Draw the effect of each programme on each gene (n_programmes, n_genes); most genes are in none."""
    shape = (vary.programmes, len(profiles.genes))
    return rng.normal(0, vary.programme, shape) * (rng.random(shape) < vary.programme_genes)


def draw_cells(
    donor: Donor, profiles: Profiles, loadings: np.ndarray, n_cells: int, vary: Variation, rng
) -> tuple[sp.csr_matrix, np.ndarray]:
    """Draw ``n_cells`` of a donor: counts (n_cells, n_genes) and each cell's type index, -1 if damaged."""
    kind = rng.choice(len(profiles.types), n_cells, p=donor.fractions)
    borrowed = rng.beta(1, 1 / vary.towards_related - 1, n_cells)[:, None]
    profile = (1 - borrowed) * donor.share[kind] + borrowed * donor.share[profiles.related[kind]]
    profile *= np.exp(rng.normal(0, 1, (n_cells, vary.programmes)) @ loadings)
    profile /= profile.sum(1, keepdims=True)
    soup = (donor.fractions * donor.content) @ donor.share
    profile = (1 - vary.ambient) * profile + vary.ambient * soup / soup.sum()
    size = donor.content[kind] * np.exp(
        rng.normal(-0.5 * profiles.spread[kind] ** 2, profiles.spread[kind])
    )
    size *= donor.capture
    damaged = rng.random(n_cells) < vary.damaged
    mito = np.array([gene.startswith("MT-") for gene in profiles.genes])
    profile[np.ix_(damaged, mito)] *= 12
    size[damaged] *= 0.3
    profile /= profile.sum(1, keepdims=True)
    noise = rng.gamma(1 / vary.overdispersion, vary.overdispersion, profile.shape)
    counts = rng.poisson(profile * size[:, None] * noise)
    return sp.csr_matrix(counts.astype(np.int32)), np.where(damaged, -1, kind)


def draw_platform(profiles: Profiles, vary: Variation, rng) -> np.ndarray:
    """Draw the gene-wise factor by which a bulk platform sees each gene differently."""
    return np.exp(rng.normal(0, vary.platform, len(profiles.genes)))


def draw_bulk(
    donor: Donor, fractions: np.ndarray, platform: np.ndarray, depth: float, rng
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one bulk sample: read counts (n_genes,) and the true share of RNA of each type."""
    rna = fractions * donor.content
    rna /= rna.sum()
    expected = (rna @ donor.share) * platform
    noise = rng.gamma(1 / 0.02, 0.02, expected.size)  # technical overdispersion of a library
    return rng.poisson(depth * expected / expected.sum() * noise), rna
