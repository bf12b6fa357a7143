"""A results folder inside a published zip file (`study.publish`), read in place.

The file's top folder with a `manifest.json` is the results folder. It is read only: what would be
written there fails as on any store that cannot be written.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import pyarrow.fs as pafs

SUFFIX = ".zip"


def is_published(location: str) -> bool:
    """Return whether a place is a zip file on this machine."""
    return "://" not in location and location.endswith(SUFFIX) and Path(location).is_file()


def open_published(location: str) -> tuple[pafs.FileSystem, str]:
    """Open a published file: its filesystem, and the results folder in it.

    Parameters
    ----------
    location : str
        The zip file.

    Raises
    ------
    ValueError
        It is not a whole zip file, or there is no results folder in it, or there are several.
    """
    place = Path(location).absolute()
    status = place.stat()
    # A file that was replaced meanwhile is another one.
    return _open(str(place), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _open(location: str, mtime_ns: int, size: int) -> tuple[pafs.FileSystem, str]:
    # Not at the top: nothing else needs it.
    from fsspec.implementations.zip import ZipFileSystem

    try:
        archive = ZipFileSystem(location, skip_instance_cache=True)
        names = archive.zip.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{location}: not a whole zip file ({error})") from None
    folders = [name.removesuffix("/manifest.json") for name in names if _is_manifest(name)]
    if len(folders) != 1:
        found = "none" if not folders else ", ".join(folders)
        raise ValueError(
            f"{location}: expected one results folder, as study.publish writes it; found {found}"
        )
    return pafs.PyFileSystem(pafs.FSSpecHandler(archive)), folders[0]


def _is_manifest(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and parts[1] == "manifest.json"
