"""Data to try things on: the simulated demo that is shipped, and public sets fetched on request."""

from cellsigil.datasets._demo import DemoFiles, demo, demo_bulk, demo_files, demo_truth
from cellsigil.datasets._public import DownloadError, lung93k, pbmc3k, pbmc5k_protein

__all__ = [
    "DemoFiles",
    "DownloadError",
    "demo",
    "demo_bulk",
    "demo_files",
    "demo_truth",
    "lung93k",
    "pbmc3k",
    "pbmc5k_protein",
]
