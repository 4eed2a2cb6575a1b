"""The code that `make run` watches, and which programs a change of it restarts."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from watchfiles import watch

WEB_ONLY = ("templates", "static")
BOTH = ("app", "wsgi.py")


class CodeWatch:
    """Watches files and folders in threads of its own until closed."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        """Watches the project in ``root`` and the packages that JOB_MODULES in ``environ`` names."""
        self._root = root
        self._changes: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._problems: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._code = [path for path in (root / name for name in BOTH) if path.exists()]
        self._code += job_packages(root, environ)
        self._assets = [path for path in (root / name for name in WEB_ONLY) if path.exists()]
        every = [*self._code, *self._assets]
        self._files = {path for path in every if path.is_file()}
        folders = {path for path in every if path.is_dir()}
        # A file is watched by its folder: editors replace files, and the watch would stay on the old one.
        self._start(folders, is_deep=True)
        self._start({path.parent for path in self._files}, is_deep=False)

    def _start(self, paths: set[Path], *, is_deep: bool) -> None:
        if paths:
            threading.Thread(
                target=self._follow, args=(paths, is_deep), name="code watch", daemon=True
            ).start()

    def _follow(self, paths: set[Path], is_deep: bool) -> None:
        try:
            for changes in watch(*paths, stop_event=self._closed, recursive=is_deep):
                for _, name in changes:
                    if is_deep or Path(name) in self._files:
                        self._changes.put(Path(name))
        except Exception as error:  # of the system: its limit of watches, a folder removed
            self._problems.put(str(error))

    def take(self) -> tuple[set[str], str]:
        """The programs to restart, and one of the changed files, for people; ``(set(), "")`` for none."""
        programs: set[str] = set()
        example = ""
        while not self._changes.empty():
            path = self._changes.get()
            if affected := self._programs(path):
                programs |= affected
                if not example or path.exists():  # rather than the draft that an editor renamed
                    example = os.path.relpath(path, self._root)
        return programs, example

    def take_problem(self) -> str | None:
        """Why changes are not noticed any more, such as a limit of the system; once."""
        return None if self._problems.empty() else self._problems.get()

    def _programs(self, path: Path) -> set[str]:
        if any(path.is_relative_to(folder) for folder in self._assets):
            return {"web"}
        return {"web", "worker"} if path.suffix == ".py" else set()

    def close(self) -> None:
        """Ends the threads, soon."""
        self._closed.set()


def job_packages(root: Path, environ: Mapping[str, str]) -> list[Path]:
    """The folders (or single files) of the top-level packages that JOB_MODULES names."""
    modules = environ.get("JOB_MODULES", "").split(",")
    names = {module.strip().partition(".")[0] for module in modules if module.strip()}
    given = [part for part in environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    path = [str(root), *(str(root / part) for part in given), *sys.path]
    found: list[Path] = []
    for name in sorted(names - {"app"}):
        spec = PathFinder.find_spec(name, path)
        if spec and spec.submodule_search_locations:
            found += [Path(folder).resolve() for folder in spec.submodule_search_locations]
        elif spec and spec.origin:
            found.append(Path(spec.origin).resolve())
    return found
