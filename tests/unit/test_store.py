"""Where models are found, and downloads against a server on this machine."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from pyclnf import _download, store
from pyclnf.errors import DownloadError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = {
    "main_clnf_general.txt": b"LandmarkDetector clnf.txt\n",
    "patch_experts/big.bin": bytes(range(256)) * 2000,
}
FILES = tuple(
    store.RemoteFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in CONTENT.items()
)


class Server(ThreadingHTTPServer):
    """Serves CONTENT with ranges; can break off, lie or redirect."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []
        self.break_after: int | None = None
        self.content = dict(CONTENT)
        self.ranges = True
        self.redirect: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path[1:], wanted))
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        data = self.server.content.get(self.path[1:])
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data) if self.server.break_after is None else start + self.server.break_after
        self.wfile.write(data[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYCLNF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Server]:
    monkeypatch.setattr(_download, "SCHEMES", ("https", "http"))
    monkeypatch.setattr(store, "OPENFACE_FILES", FILES)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_nothing_is_downloaded_without_consent(server: Server, home: Path) -> None:
    with pytest.raises(DownloadError, match="academic and non-commercial"):
        store.download_openface(accept_terms=False, base_url=server.url)
    assert server.requests == []
    assert not home.exists()


def test_download_gives_the_folder_that_the_name_stands_for(server: Server) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = store.download_openface(
        accept_terms=True, base_url=server.url, progress=lambda *state: seen.append(state)
    )
    assert {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    } == CONTENT
    assert seen[-1] == (
        "main_clnf_general.txt",
        sum(file.size for file in FILES),
        sum(file.size for file in FILES),
    )
    assert store.resolve("openface") == folder
    assert [model.origin for model in store.models() if model.name == "openface"] == ["downloaded"]
    server.requests.clear()
    store.download_openface(accept_terms=True, base_url=server.url)
    assert server.requests == []  # whole files are not fetched again


def test_a_broken_transfer_is_resumed(server: Server, home: Path) -> None:
    server.break_after = 100_000
    with pytest.raises(DownloadError, match="run the command again"):
        store.download_openface(accept_terms=True, base_url=server.url)
    with pytest.raises(ModelError, match="is not here"):
        store.resolve("openface")
    (part,) = home.rglob("*.part")
    assert part.stat().st_size == 100_000
    server.break_after = None
    folder = store.download_openface(accept_terms=True, base_url=server.url)
    assert ("patch_experts/big.bin", "bytes=100000-") in server.requests
    assert (folder / "patch_experts/big.bin").read_bytes() == CONTENT["patch_experts/big.bin"]
    assert not list(home.rglob("*.part"))


def test_a_server_without_ranges_starts_over(server: Server, home: Path) -> None:
    server.break_after, server.ranges = 50_000, False
    with pytest.raises(DownloadError):
        store.download_openface(accept_terms=True, base_url=server.url)
    server.break_after = None
    folder = store.download_openface(accept_terms=True, base_url=server.url)
    assert (folder / "patch_experts/big.bin").read_bytes() == CONTENT["patch_experts/big.bin"]


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"?", lambda data: data + b"more"])
def test_other_bytes_are_refused(server: Server, home: Path, change) -> None:  # type: ignore[no-untyped-def]
    server.content["patch_experts/big.bin"] = change(CONTENT["patch_experts/big.bin"])
    with pytest.raises(DownloadError, match="not the bytes that belong there"):
        store.download_openface(accept_terms=True, base_url=server.url)
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_a_missing_file_is_said(server: Server) -> None:
    del server.content["patch_experts/big.bin"]
    with pytest.raises(DownloadError, match=r"big\.bin: the server answers 404"):
        store.download_openface(accept_terms=True, base_url=server.url)


def test_only_https(home: Path) -> None:
    for url in ("http://127.0.0.1:1/", "file:///", "ftp://127.0.0.1/"):
        with pytest.raises(DownloadError, match="https only"):
            store.download_openface(accept_terms=True, base_url=url)


def test_no_redirect_away_from_https(server: Server) -> None:
    server.redirect = "ftp://127.0.0.1/file"
    with pytest.raises(DownloadError, match="https only"):
        store.download_openface(accept_terms=True, base_url=server.url)


def test_the_list_is_of_the_release(test_data: Path) -> None:
    folder = test_data / "openface" / "model"
    for file in store.OPENFACE_FILES:
        data = (folder / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)


def test_the_listed_files_are_all_that_the_reader_needs(test_data: Path, tmp_path: Path) -> None:
    from pyclnf import load_model

    for file in store.OPENFACE_FILES:
        target = tmp_path / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((test_data / "openface" / "model" / file.path).read_bytes())
    assert [part.name for part in load_model(tmp_path).parts] == ["inner", "left_eye_28", "right_eye_28"]


def test_resolve_prefers_a_path(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = store.imported_path("mine")
    stored.write_bytes(b"")
    assert store.resolve("mine") == stored
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert str(store.resolve("mine")) == "mine"
    assert store.resolve("other.npz").name == "other.npz"
    with pytest.raises(ModelError, match=r"there is no model 'other'.*mine"):
        store.resolve("other")


@pytest.mark.parametrize("name", ["default", "../x", "", "a/b", "a.npz"])
def test_names_of_stored_models(home: Path, name: str) -> None:
    with pytest.raises(ModelError, match="model's name"):
        store.imported_path(name)


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PYCLNF_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ModelError, match=r"home cannot be made: .*; set PYCLNF_HOME"):
        store.imported_path("mine")
    with pytest.raises(DownloadError, match="run the command again to go on where it stopped"):
        store.fetch("https://127.0.0.1:1/x", store.cache_dir() / "x", store.RemoteFile("x", 1, "0" * 64))


def test_a_certificate_that_cannot_be_verified_is_no_transfer_to_go_on_with(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where Python from python.org knows no certificates before a command of its own has run."""

    def refuse(*_: object) -> None:
        cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
        cause.verify_message = "unable to get local issuer certificate"
        raise urllib.error.URLError(cause)

    monkeypatch.setattr(_download, "_receive", refuse)
    with pytest.raises(
        DownloadError,
        match=r"\(unable to get local issuer certificate\).*Install Certificates.*SSL_CERT_FILE$",
    ):
        store.fetch("https://localhost/x", home / "x", store.RemoteFile("x", 1, "0" * 64))


def test_a_server_that_speaks_no_http(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def garbage(*_: object) -> None:
        raise http.client.BadStatusLine("220 ready for mail")

    monkeypatch.setattr(_download, "_receive", garbage)
    with pytest.raises(DownloadError, match="220 ready for mail; run the command again"):
        store.fetch("https://localhost/x", home / "x", store.RemoteFile("x", 1, "0" * 64))


def test_a_server_that_sends_another_part(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data = next(iter(CONTENT.items()))
    part = home / "x.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(data[:1])
    monkeypatch.setattr(Handler, "send_header", _shifted_range(Handler.send_header))
    with pytest.raises(DownloadError, match="another part of the file than it was asked for"):
        _download.receive(server.url + name, part, len(data))
    assert part.read_bytes() == data[:1]


def _shifted_range(send):  # type: ignore[no-untyped-def]
    def send_header(handler: Handler, keyword: str, value: str) -> None:
        send(handler, keyword, "bytes 0-9/10" if keyword == "Content-Range" else value)

    return send_header


def test_a_part_that_is_whole_is_not_asked_for(server: Server, home: Path) -> None:
    name, data = next(iter(CONTENT.items()))
    part = home / "x.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(data)
    _download.receive(server.url + name, part, len(data))
    assert server.requests == []


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_the_shipped_model_needs_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a service's user, and on Windows without the variables that name it."""
    for name in ("PYCLNF_HOME", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(store.Path, "home", no_home)
    assert store.resolve(None).name == "default.npz"
    assert {model.origin for model in store.models()} <= {"shipped"}
    with pytest.raises(ModelError, match=r"no home to keep models in .*: set PYCLNF_HOME"):
        store.imported_path("mine")
    with pytest.raises(ModelError, match="get it with 'pyclnf models download openface'"):
        store.resolve("openface")


def test_the_shipped_model_needs_no_home_that_may_be_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose user is another than the one that HOME belongs to."""

    def is_file(path: Path) -> bool:
        if path.is_relative_to(tmp_path):
            raise PermissionError(13, "Permission denied", str(path))
        return True

    monkeypatch.setenv("PYCLNF_HOME", str(tmp_path / "home"))
    # As before Python 3.14.
    monkeypatch.setattr(store.Path, "is_file", is_file)
    assert store.resolve(None).name == "default.npz"
    assert [model.origin for model in store.models()] == ["shipped"]


def test_an_import_that_was_killed_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCLNF_HOME", str(tmp_path))
    (tmp_path / ".mine.0123abcd.tmp.npz").touch()
    assert all(model.origin == "shipped" for model in store.models())
