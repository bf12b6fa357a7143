"""Rows written on the driver's node: for clusters whose nodes share no folder and no store.

One actor on the driver's node owns the results folder. Workers open it as a pyarrow filesystem
whose files travel through Ray, so the code that writes rows knows nothing of it: a write returns
when the file is on the driver's disk.
"""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.results.folder import ResultsFolder, open_folder

NAME = "study-row-writer"
SCHEME = "driver://"
# Path, type, size and time of a file: Arrow's own description cannot be sent.
Described = tuple[str, int, int | None, int | None]


class RowWriter:
    """The actor: files of one folder on its node, written whole.

    Parameters
    ----------
    path : str
        The results folder; nothing outside it is touched.
    """

    def __init__(self, path: str) -> None:
        self._folder = ResultsFolder(pafs.LocalFileSystem(), path).patient()

    def put(self, path: str, content: bytes) -> None:
        """Write a file under its name at once."""
        self._folder.write_bytes(self._name(path), content)

    def read(self, path: str) -> bytes:
        """Read a whole file."""
        with self._folder.filesystem.open_input_stream(self._inside(path)) as stream:
            return bytes(stream.read())

    def info(self, paths: list[str]) -> list[Described]:
        """Describe files."""
        infos = self._folder.filesystem.get_file_info([self._inside(path) for path in paths])
        return [_describe(info) for info in infos]

    def list_folder(self, path: str, recursive: bool) -> list[Described]:
        """Describe what lies in a folder; nothing if it is not there."""
        selector = pafs.FileSelector(self._inside(path), allow_not_found=True, recursive=recursive)
        return [_describe(info) for info in self._folder.filesystem.get_file_info(selector)]

    def delete(self, path: str) -> None:
        """Delete a file."""
        self._folder.filesystem.delete_file(self._inside(path))

    def _name(self, path: str) -> str:
        return self._inside(path).removeprefix(f"{self._folder.path}/")

    def _inside(self, path: str) -> str:
        path = "/" + path.lstrip("/")
        inside = path == self._folder.path or path.startswith(f"{self._folder.path}/")
        if not inside or ".." in path.split("/"):
            raise PermissionError(f"{path} is not in {self._folder.path}")
        return path


def _describe(info: pafs.FileInfo) -> Described:
    return info.path, info.type.value, info.size, info.mtime_ns


def _info(described: Described) -> pafs.FileInfo:
    path, kind, size, mtime_ns = described
    return pafs.FileInfo(path, pafs.FileType(kind), size=size, mtime_ns=mtime_ns)


class WriterHandler(pafs.FileSystemHandler):
    """The worker's side: the pyarrow filesystem that asks the actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments))
        except ray.exceptions.RayTaskError as error:
            # The cause keeps its kind: a missing file is not a full disk.
            cause = error.cause
            raise (cause if isinstance(cause, OSError) else OSError(str(error))) from None
        except ray.exceptions.RayActorError as error:
            raise OSError(f"the writer on the driver's node is gone: {error}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WriterHandler) and self._actor == other._actor

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        """Return the kind of filesystem."""
        return "study-writer"

    def normalize_path(self, path: str) -> str:
        """Leave a path as it is."""
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """Describe files."""
        return [_info(described) for described in self._ask("info", paths)]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """Describe what lies in a folder."""
        found = self._ask("list_folder", selector.base_dir, selector.recursive)
        return [_info(described) for described in found]

    def create_dir(self, path: str, recursive: bool) -> None:
        """Do nothing: writing a file makes its folder."""

    def delete_file(self, path: str) -> None:
        """Delete a file."""
        self._ask("delete", path)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """Read a file, all of it at once: they are small."""
        return pa.BufferReader(self._ask("read", path))

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Read a file, all of it at once: they are small."""
        return self.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: dict[str, str]) -> pa.NativeFile:
        """Write a file: it is sent when it is closed."""
        return pa.PythonFile(_Outgoing(self, path), mode="w")

    def put(self, path: str, content: bytes) -> None:
        """Send a file."""
        self._ask("put", path, content)

    def _refuse(self, *_: Any) -> Any:
        raise NotImplementedError("rows that are written through the driver are only put")

    delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    move = copy_file = open_append_stream = _refuse


class _Outgoing(io.BytesIO):
    def __init__(self, handler: WriterHandler, path: str) -> None:
        super().__init__()
        self._handler, self._path = handler, path

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            self._handler.put(self._path, content)


def start_writer(path: str) -> tuple[Any, str]:
    """Start the writer on the driver's node.

    Parameters
    ----------
    path : str
        The results folder, absolute.

    Returns
    -------
    actor : handle
        The writer ends when this is dropped.
    location : str
        What workers open.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "name": NAME, "scheduling_strategy": here, "max_concurrency": 4}
    actor = ray.remote(RowWriter).options(**options).remote(path)
    return actor, f"{SCHEME}{path}"


def open_location(location: str) -> ResultsFolder:
    """Open a results folder on a worker: by path or URI, or through the driver's writer.

    Raises
    ------
    ResultsError
        The URI's scheme is not one that pyarrow can open.
    """
    if not location.startswith(SCHEME):
        return open_folder(location)
    handler = WriterHandler(ray.get_actor(NAME))
    return ResultsFolder(pafs.PyFileSystem(handler), location.removeprefix(SCHEME))
