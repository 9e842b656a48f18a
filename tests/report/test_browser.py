"""The page in a real browser: it stands, says nothing on the console and asks nobody for anything."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
)  # fmt: skip


def in_browser(page, folder, *options) -> subprocess.CompletedProcess:
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_stands_in_a_browser(page, tmp_path):
    seen = in_browser(page, tmp_path, "--dump-dom")
    for anchor in (
        "qc",
        "umap",
        "composition",
        "annotation",
        "markers",
        "scores",
        "signature",
        "deconvolution",
    ):
        assert f'<section id="{anchor}"' in seen.stdout
    assert "CONSOLE" not in seen.stderr
    assert "<script" not in seen.stdout
    assert not re.search(r'(?:src|href)="(?!#|data:|tables/)', seen.stdout)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [400, 1280])
def test_is_no_wider_than_the_window(page, tmp_path, width):
    probe = "<script>document.body.dataset.wide = document.documentElement.scrollWidth - innerWidth</script>"
    copy = tmp_path / "probe.html"
    copy.write_text(
        page.read_text(encoding="utf-8").replace("</body>", f"{probe}</body>"), encoding="utf-8"
    )
    seen = in_browser(copy, tmp_path / "profile", "--dump-dom", f"--window-size={width},900")
    assert int(re.search(r'data-wide="(-?\d+)"', seen.stdout)[1]) <= 0
