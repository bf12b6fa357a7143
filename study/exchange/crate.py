"""A results folder as one file that others' tools read: `study.publish`.

The zip holds, beside the tables themselves, what describes them: `ro-crate-metadata.json`
(RO-Crate 1.1), `croissant.json` (Croissant 1.0, what each column of each table holds),
`datapackage.json` (frictionless, the same with units and bounds), `codecheck.yml` and the
certificate where `study.verify` has run, and `SHA256SUMS` over all of it. Nothing is sent.

References
----------
RO-Crate Metadata Specification 1.1, https://w3id.org/ro/crate/1.1
Croissant Format Specification 1.0, http://mlcommons.org/croissant/1.0
Data Package 1, https://specs.frictionlessdata.io/data-package/
CODECHECK configuration 1.0, https://codecheck.org.uk/spec/config/1.0/
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from study.exchange.described import as_croissant, as_data_package, as_ro_crate
from study.results import (
    CERTIFICATE,
    SCHEMAS,
    ResultsError,
    ResultsFolder,
    check_lineage,
    open_folder,
    read_certificate,
    timestamp,
)
from study.results.record import drop_doubles
from study.results.tables import frame_to_table, pandas_type

CHECKSUMS = "SHA256SUMS"
NO_LICENCE = "not stated; ask the authors before using it"
# Large, and nothing that a table's numbers are checked by.
LEFT_OUT = ("weights",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of the crate.

    Parameters
    ----------
    path : str
        Inside the zip.
    content : bytes
    table : str
        The table that it holds; empty for other files.
    schema : Schema or None
        Of the table.
    n_rows : int
    gaps : frozenset of str
        Columns in which values are missing.
    """

    path: str
    content: bytes
    table: str = ""
    schema: pa.Schema | None = None
    n_rows: int = 0
    gaps: frozenset[str] = frozenset()

    @property
    def sha256(self) -> str:
        """The digest of its bytes."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is said of a published set as a whole.

    Parameters
    ----------
    name, question, commit : str
    published_at : str
        ISO 8601.
    licence : str
        An address or SPDX name.
    authors : tuple of str
    certificate : mapping or None
        What `study.verify` found.
    """

    name: str
    question: str
    commit: str
    published_at: str
    licence: str
    authors: tuple[str, ...]
    certificate: Mapping[str, Any] | None

    @property
    def text(self) -> str:
        """One paragraph."""
        question = f" Question: {self.question}" if self.question else ""
        return (
            f"Results of the sweep {self.name}: generative models trained on Gaussian mixtures "
            f"and the modes counted in them, each with its control.{question} Made by commit "
            f"{self.commit} of mode-coverage-study."
        )


def publish(
    location: str,
    target: str | Path,
    *,
    licence: str = "",
    authors: Sequence[str] = (),
    with_weights: bool = False,
) -> list[Part]:
    """Write a results folder as one zip file that describes itself.

    Parameters
    ----------
    location : str
        The folder, a path or URI.
    target : path
        The zip file; one that exists is replaced when the new one is whole.
    licence : str
        An SPDX name or address; empty: the file says that none is stated.
    authors : sequence of str
    with_weights : bool
        The trained weights too, about 140 kB a trial.

    Returns
    -------
    list of Part
        The files in it.

    Raises
    ------
    ResultsError
        The folder cannot be read or holds no trial, or the target is not a .zip file.
    OSError
        The file cannot be written.
    """
    place = Path(target)
    if place.suffix != ".zip":
        raise ResultsError(f"--to {target}: must be a .zip file")
    folder = open_folder(location)
    manifest = folder.read_manifest()
    check_lineage(folder)
    about = About(
        name=str(manifest.get("name") or folder.path.rpartition("/")[2]),
        question=str(manifest.get("question", "")),
        commit=str(manifest.get("commit") or "unknown"),
        published_at=timestamp(),
        licence=licence or NO_LICENCE,
        authors=tuple(authors),
        certificate=read_certificate(folder),
    )
    parts = list(_parts(folder, about, with_weights=with_weights))
    if not any(part.table == "trials" for part in parts):
        raise ResultsError(
            f"{location}: no trial is recorded here, so there is nothing to publish"
        )
    parts += [_json("croissant.json", as_croissant(about, parts))]
    parts += [_json("datapackage.json", as_data_package(about, parts))]
    parts += [_json("ro-crate-metadata.json", as_ro_crate(about, parts))]
    sums = "".join(f"{part.sha256}  {part.path}\n" for part in parts)
    parts.append(Part(path=CHECKSUMS, content=sums.encode()))
    _write_zip(place, parts)
    return parts


def _parts(folder: ResultsFolder, about: About, *, with_weights: bool) -> Iterator[Part]:
    """Give the record itself: manifest, tables, certificate, and a note for people."""
    yield Part(path="README.md", content=_readme(about).encode())
    yield Part(path=f"{about.name}/manifest.json", content=folder.read_small("manifest.json"))
    for table in SCHEMAS:
        if table in LEFT_OUT and not with_weights:
            continue
        raw = folder.read_raw(table)
        if not raw.num_rows:
            continue
        frame = drop_doubles(table, raw.to_pandas(types_mapper=pandas_type))
        rows = frame_to_table(table, frame, more=raw.schema)
        inside = "weights/weights" if table == "weights" else table
        yield Part(
            path=f"{about.name}/{inside}.parquet",
            content=_parquet(rows),
            table=table,
            schema=rows.schema,
            n_rows=rows.num_rows,
            gaps=frozenset(name for name in rows.column_names if rows[name].null_count),
        )
    if about.certificate is not None:
        text = json.dumps(about.certificate, indent=1)
        yield Part(path=f"{about.name}/{CERTIFICATE}", content=text.encode())
        yield Part(path="codecheck.yml", content=_codecheck(about).encode())


def _parquet(table: pa.Table) -> bytes:
    """Write a table as results folders have it, sealed."""
    with tempfile.TemporaryDirectory(prefix="study-publish-") as scratch:
        open_folder(scratch).write_table("table.parquet", table)
        return (Path(scratch) / "table.parquet").read_bytes()


def _json(path: str, content: Mapping[str, Any]) -> Part:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return Part(path=path, content=f"{text}\n".encode())


def _readme(about: About) -> str:
    checked = "There is no certificate: nothing was run again."
    if about.certificate is not None:
        checked = _outcome(about.certificate)
    return f"""# {about.name}

{about.text}

- `{about.name}/` holds the tables (parquet) and `manifest.json`, which has the whole sweep.
- What each column holds, its unit and bounds: `datapackage.json`; the same for machine learning
  tools: `croissant.json`; the whole as a research object: `ro-crate-metadata.json`.
- {checked}
- `sha256sum --check {CHECKSUMS}` checks the files. Licence: {about.licence}.

With the project installed, `mode-study report FILE.zip --out report` draws the figures and tables,
and `mode-study verify --from FILE.zip` runs random trials again and compares every number.
"""


def _outcome(certificate: Mapping[str, Any]) -> str:
    # Older certificates say it by their tolerance.
    how = certificate.get("level") or (
        "within a tolerance" if certificate.get("tolerance") else "to the bit"
    )
    return (
        f"{certificate.get('n_equal')} of {certificate.get('n_trials')} trials chosen at random "
        f"were run again on {certificate.get('verified_at')} and were equal ({how})"
    )


def _codecheck(about: About) -> str:
    """Write the certificate as CODECHECK's register has it; JSON is YAML."""
    certificate = about.certificate or {}
    content = {
        "version": "https://codecheck.org.uk/spec/config/1.0/",
        "manifest": [
            {"file": f"{about.name}/{CERTIFICATE}", "comment": "every number compared, by trial"}
        ],
        "paper": {
            "title": about.name,
            "authors": [{"name": name} for name in about.authors or ("not stated",)],
        },
        "codechecker": {"name": f"study.verify, commit {certificate.get('commit', 'unknown')}"},
        "summary": f"{_outcome(certificate)}; processor {certificate.get('cpu', 'unknown')}.",
        "check_time": certificate.get("verified_at", ""),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _write_zip(place: Path, parts: Sequence[Part]) -> None:
    """Write the zip so that it is absent, old or whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w") as archive:
                for part in parts:
                    # Parquet is compressed already, and what is stored can be read in place.
                    how = (
                        zipfile.ZIP_STORED
                        if part.path.endswith(".parquet")
                        else zipfile.ZIP_DEFLATED
                    )
                    archive.writestr(part.path, part.content, compress_type=how)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def broken_checksums(path: str | Path) -> list[str]:
    """List what of a published file is not as it was published; empty if all is.

    Raises
    ------
    ResultsError
        It has no list of checksums.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            lines = archive.read(CHECKSUMS).decode().splitlines()
            pairs = (line.split("  ", 1) for line in lines)
            sums = {name: digest for digest, name in pairs}
            broken = [name for name, digest in sums.items() if _digest(archive, name) != digest]
            names = {name for name in archive.namelist() if not name.endswith("/")}
            return broken + sorted(names - sums.keys() - {CHECKSUMS})
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ResultsError(f"{path}: cannot be checked ({error})") from None


def require_whole(path: str | Path) -> None:
    """Make sure that a published file is as it was published.

    Raises
    ------
    ResultsError
        It is not; the message names the first part that differs.
    """
    broken = broken_checksums(path)
    if broken:
        raise ResultsError(
            f"{path}: {broken[0]} is not what was published (its checksum differs from "
            f"{CHECKSUMS}); take the file from where it was published"
        )


def _digest(archive: zipfile.ZipFile, name: str) -> str:
    try:
        return hashlib.sha256(archive.read(name)).hexdigest()
    except (KeyError, zipfile.BadZipFile):
        return ""
