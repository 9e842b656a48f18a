"""Downloads, against a real server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import threading
from functools import partial

import pytest

from cellsigil.datasets import DownloadError, _public, pbmc3k


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


def _source(folder, url, content=b"counts"):
    (folder / "set.h5ad").write_bytes(content)
    checksum = "sha256:" + hashlib.sha256(b"counts").hexdigest()
    return _public._Source("set.h5ad", f"{url}/set.h5ad", checksum, "6 B")


def test_a_download_is_kept_and_used_again_without_the_server(server, tmp_path):
    folder, url = server
    source = _source(folder, url)
    path = _public._fetch(source, tmp_path / "cache")
    assert path.read_bytes() == b"counts"
    (folder / "set.h5ad").unlink()
    assert _public._fetch(source, tmp_path / "cache") == path


def test_a_wrong_checksum_is_refused_and_not_kept(server, tmp_path):
    folder, url = server
    source = _source(folder, url, content=b"tampered")
    with pytest.raises(DownloadError, match="checksum is not sha256:"):
        _public._fetch(source, tmp_path / "cache")
    assert not (tmp_path / "cache" / "set.h5ad").exists()


def test_offline_is_a_sentence_with_a_way_out(tmp_path):
    source = _public._Source("set.h5ad", "http://127.0.0.1:9/set.h5ad", "md5:0", "6 B")
    with pytest.raises(DownloadError, match="could not be downloaded .* put the file at"):
        _public._fetch(source, tmp_path)


def test_a_kept_file_is_read(shared, tmp_path, monkeypatch):
    real = shared("pbmc3k_raw.h5ad")
    (tmp_path / "pbmc3k_raw.h5ad").write_bytes(real.read_bytes())
    digest = "sha256:" + hashlib.sha256(real.read_bytes()).hexdigest()
    kept = _public._Source("pbmc3k_raw.h5ad", "http://127.0.0.1:9/none", digest, "6 MB")
    monkeypatch.setattr(_public, "_PBMC3K", kept)
    assert pbmc3k(cache=tmp_path).shape == (2700, 32738)
