"""Fetching of a file over https, from where an earlier try has stopped."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from pyclnf.errors import DownloadError

__all__ = ["receive"]

SCHEMES = ("https",)
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**16


def receive(url: str, part: Path, size: int) -> None:
    """Append to *part* what it lacks, at most one byte more than *size*.

    Raises
    ------
    DownloadError
        If the address is not https, its certificate cannot be verified, or the server refuses or answers
        something else.
    OSError
        If the transfer breaks off.
    """
    try:
        _receive(url, part, size)
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLCertVerificationError):
            raise
        raise DownloadError(
            f"{url}: the server's certificate cannot be verified ({error.reason.verify_message}): on macOS "
            "with Python from python.org run its 'Install Certificates.command'; behind a proxy that has a "
            "certificate of its own name a file with it in SSL_CERT_FILE"
        ) from error
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error


def _receive(url: str, part: Path, size: int) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if have >= size:
        return
    _check_scheme(url)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.build_opener(_SafeRedirects).open(request, timeout=TIMEOUT) as answer:
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise DownloadError(f"{url}: the server sent another part of the file than it was asked for")
        with part.open("ab" if resumed else "wb") as file:
            _copy(answer, file, size + 1 - (have if resumed else 0))


def _copy(source: http.client.HTTPResponse, target: IO[bytes], limit: int) -> None:
    while limit > 0 and (data := source.read(min(CHUNK, limit))):
        target.write(data)
        limit -= len(data)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str) -> None:
    if url.partition(":")[0] not in SCHEMES:
        raise DownloadError(f"{url}: models are downloaded over https only")
