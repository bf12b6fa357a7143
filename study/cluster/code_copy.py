"""The working tree as it is sent to a cluster: a copy made now, of what a run needs.

What git tracks is sent, and of what it does not know yet only code and sweep files: a key or a
password file that lies about is not. Results, weights, virtual environments and what git ignores
stay here. The copy's folder is named by its content, so it also says what ran.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.cluster.command import JobError

# What Ray's job server accepts in one request is 100 MiB.
MOST_MB = 95.0
_LEFT_OUT = {
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "__pycache__",
    "node_modules",
    "results",
    "weights",
}
# A .gitignore in the copy would make Ray leave out what was chosen here.
_LEFT_OUT_FILES = {".gitignore", ".env"}
_LEFT_OUT_SUFFIXES = (".parquet", ".pyc", ".so.tmp", ".pem", ".key")
# Kinds that are sent although git does not track them (yet), and names without a kind.
_KNOWN_SUFFIXES = (".py", ".yaml", ".yml", ".toml", ".j2", ".css", ".js")
_KNOWN_NAMES = {"constraints.txt", "Makefile", "LICENSE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A copy of the working tree.

    Parameters
    ----------
    root : Path
        The copy's folder.
    files : tuple of str
        What is in it, relative.
    size_mb : float
    content : str
        Hash of names and contents.
    """

    root: Path
    files: tuple[str, ...]
    size_mb: float
    content: str


def project_root() -> Path:
    """Return the folder that holds the project's code."""
    return Path(__file__).resolve().parents[2]


def list_tree(root: Path, include: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """List the files of a working tree that are sent, and those that are not though they might be.

    Parameters
    ----------
    root : Path
        The project's folder.
    include : sequence of str
        Files, relative to `root`, that are sent although git does not track them.

    Returns
    -------
    sent : list of str
        Relative and sorted.
    kept : list of str
        Files that git neither tracks nor ignores and that are of no known kind, and links that
        lead out of the tree.

    Raises
    ------
    JobError
        Git cannot say what it tracks, or a file of `include` is not in the tree.
    """
    for name in include:
        if not _is_inside(root, name):
            raise JobError(f"--include {name}: there is no such file in {root}")
    if any((place / ".git").exists() for place in (root, *root.parents)):
        tracked = _git_files(root, "--cached")
        others = _git_files(root, "--others", "--exclude-standard")
    else:
        tracked, others = [], list(_walk(root))
    wanted = {*tracked, *include, *(name for name in others if _is_known(name))}
    chosen = {name for name in wanted if _is_sent(name) or name in include}
    sent = sorted(name for name in chosen if _is_inside(root, name))
    candidates = {*others, *chosen} - set(sent)
    kept = sorted(name for name in candidates if _is_worth_saying(name))
    return sent, kept


def _is_inside(root: Path, name: str) -> bool:
    """Return whether a name is a file of the tree and not a link that leads out of it."""
    place = root / name
    return place.is_file() and place.resolve().is_relative_to(root.resolve())


def _is_known(name: str) -> bool:
    file = Path(name).name
    return file.endswith(_KNOWN_SUFFIXES) or file in _KNOWN_NAMES


def _is_worth_saying(name: str) -> bool:
    """Leave out of the list what nobody would expect to be sent."""
    *folders, file = Path(name).parts
    expected = file in _LEFT_OUT_FILES or file.endswith((".parquet", ".pyc"))
    return not (_LEFT_OUT.intersection(folders) or expected)


def _git_files(root: Path, *which: str) -> list[str]:
    command = ["git", "-C", str(root), "ls-files", "-z", *which]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise JobError(
            f"{root} is a git repository and git is not installed here, so it cannot say which "
            "files are ignored; install git"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JobError(f"git cannot list the files of {root}: {error}") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        remedy = f"git config --global --add safe.directory {shlex.quote(str(root))}"
        mend = f"; run: {remedy}" if "dubious ownership" in done.stderr else ""
        raise JobError(f"git cannot list the files of {root}: {reason}{mend}")
    return done.stdout.split("\0")[:-1]


def _walk(root: Path) -> Iterator[str]:
    for place, folders, files in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if name not in _LEFT_OUT and not (Path(place) / name / "pyvenv.cfg").exists()
        ]
        yield from (str((Path(place) / name).relative_to(root)) for name in files)


def _is_sent(name: str) -> bool:
    *folders, file = Path(name).parts
    return not (
        _LEFT_OUT.intersection(folders)
        or file in _LEFT_OUT_FILES
        or file.endswith(_LEFT_OUT_SUFFIXES)
    )


def check_size(root: Path, files: Sequence[str], *, most_mb: float = MOST_MB) -> float:
    """Measure what is to be sent.

    Returns
    -------
    float
        MB.

    Raises
    ------
    JobError
        It is too much; the message names the largest files.
    """
    sizes = {name: (root / name).stat().st_size / 1e6 for name in files}
    total = sum(sizes.values())
    if total > most_mb:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        shown = ", ".join(f"{name} ({sizes[name]:.0f} MB)" for name in largest)
        raise JobError(
            f"{root}: {total:.0f} MB to send without results, weights and environments, at most "
            f"{most_mb:.0f} MB go; the largest: {shown}. Move them away or add them to .gitignore"
        )
    return total


def pack(
    root: Path,
    target: Path,
    sweep_file: Path,
    include: Sequence[str] = (),
    plugins: Sequence[Path] = (),
) -> tuple[Package, str]:
    """Copy the working tree.

    Parameters
    ----------
    root : Path
        The project's folder.
    target : Path
        Where the copy goes, into a folder named by the content.
    sweep_file : Path
        It is copied too, to sweeps/, if it is not in the tree.
    include : sequence of str
        As for `list_tree`.
    plugins : sequence of Path
        Files that are copied too, to the names that `plugin_name` gives.

    Returns
    -------
    package : Package
    file : str
        The sweep file in the copy.

    Raises
    ------
    JobError
        It is too large, or as for `list_tree`.
    """
    files, _ = list_tree(root, include)
    size_mb = check_size(root, files)
    sources = {name: root / name for name in files}
    file = _name_in_tree(sweep_file, root, sources)
    sources[file] = sweep_file.resolve()
    sources |= {plugin_name(plugin): plugin.resolve() for plugin in plugins}
    content = hashlib.sha256()
    for name, source in sorted(sources.items()):
        content.update(f"{name}\0".encode() + source.read_bytes() + b"\0")
    copy = target / content.hexdigest()[:16]
    for name, source in sources.items():
        place = copy / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, place)
    names = tuple(sorted(sources))
    return Package(root=copy, files=names, size_mb=size_mb, content=copy.name), file


def plugin_name(plugin: Path) -> str:
    """Return the name of a plug-in's file in a copy of the tree."""
    return f"plugins/{plugin.name}"


def _name_in_tree(sweep_file: Path, root: Path, sources: dict[str, Path]) -> str:
    resolved = sweep_file.resolve()
    if resolved.is_relative_to(root):
        name = str(resolved.relative_to(root))
        if name in sources:
            return name
    return f"sweeps/sent-{sweep_file.name}"
