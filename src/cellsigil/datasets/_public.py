"""Public data, downloaded when asked for: checked by checksum, kept in the user's cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)


class DownloadError(OSError):
    """A public data set could not be fetched, or is not the file that was published."""


@dataclass(frozen=True)
class _Source:
    file: str
    url: str
    checksum: str
    size: str


_PBMC3K = _Source(
    "pbmc3k_raw.h5ad",
    "https://exampledata.scverse.org/scanpy/pbmc3k_raw.h5ad",
    "sha256:89a96f1beaa2dd83a687666d3f19a4513ac27a2a2d12581fcd77afed7ea653a1",
    "6 MB",
)
_PBMC5K_PROTEIN = _Source(
    "5k_pbmc_protein_v3_filtered_feature_bc_matrix.h5",
    "https://cf.10xgenomics.com/samples/cell-exp/3.0.2/5k_pbmc_protein_v3/"
    "5k_pbmc_protein_v3_filtered_feature_bc_matrix.h5",
    "md5:3366a47283177fe9af143d5819fad61f",
    "17 MB",
)
_LUNG93K = _Source(
    "lung93k.h5ad",
    "https://figshare.com/ndownloader/files/45788454",
    "md5:4f28af5ff226052443e7e0b39f3f9212",
    "several hundred MB",
)


def pbmc3k(*, cache: str | Path | None = None) -> AnnData:
    """Download (once) 2,700 PBMC of a healthy donor, raw counts x 32,738 genes.

    Parameters
    ----------
    cache
        Folder that keeps the file; by default the user's cache folder.

    Raises
    ------
    DownloadError
        There is no network, or the file that came is not the published one.

    References
    ----------
    10x Genomics, "3k PBMCs from a Healthy Donor" (CC BY 4.0), as .h5ad by the scanpy project.
    """
    return _load(_PBMC3K, cache)


def pbmc5k_protein(*, cache: str | Path | None = None) -> AnnData:
    """Download (once) 5,000 PBMC with 32 surface proteins, which lie in ``obsm["Antibody Capture"]``.

    Parameters
    ----------
    cache
        Folder that keeps the file; by default the user's cache folder.

    Raises
    ------
    DownloadError
        There is no network, or the file that came is not the published one.

    References
    ----------
    10x Genomics, "5k PBMCs from a Healthy Donor with Cell Surface Proteins (v3)" (CC BY 4.0).
    """
    return _load(_PBMC5K_PROTEIN, cache)


def lung93k(*, cache: str | Path | None = None) -> AnnData:
    """Download (once) 93,000 human lung cells, the large set of scanpy's own benchmarks.

    Parameters
    ----------
    cache
        Folder that keeps the file; by default the user's cache folder.

    Raises
    ------
    DownloadError
        There is no network, or the file that came is not the published one.
    """
    return _load(_LUNG93K, cache)


def _load(source: _Source, cache: str | Path | None) -> AnnData:
    from cellsigil import io

    return io.read(_fetch(source, cache))


def _fetch(source: _Source, cache: str | Path | None) -> Path:
    """Return the local path of a source's file, downloaded and checked if it is not there yet."""
    import pooch

    folder = Path(cache) if cache is not None else Path(pooch.os_cache("cellsigil"))
    place = folder / source.file
    if not place.exists():
        log.info("downloading %s (%s) from %s", source.file, source.size, source.url)
    try:
        download = pooch.HTTPDownloader(
            headers={"User-Agent": "cellsigil"}
        )  # some hosts refuse libraries' own
        return Path(
            pooch.retrieve(
                source.url, source.checksum, fname=source.file, path=folder, downloader=download
            )
        )
    except ValueError as error:  # pooch: the hash differs
        msg = f"{source.url} gave a file whose checksum is not {source.checksum}: it was not kept. Try again later."
        raise DownloadError(msg) from error
    except OSError as error:  # requests' errors are OSErrors
        msg = (
            f"{source.file} could not be downloaded from {source.url} ({type(error).__name__}). Without a network, "
            f"put the file at {place}, or pass its folder with cache=."
        )
        raise DownloadError(msg) from error
