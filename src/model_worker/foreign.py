"""Starts a worker under the interpreter of another virtual environment.

    /other/bin/python -P foreign.py model_worker=FOLDER [package=FOLDER ...] -- module:Class --fd N ...

The packages named are lent from the parent's environment: no folder is put on the path, so that nothing else of the
parent's is found here, and what they import comes from this environment. Imports the standard library only.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class LentPackages(MetaPathFinder):
    """Finds top-level packages in the folders given; their submodules are found by the usual means."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called by the import system."""
        folder = self._folders.get(fullname)
        if folder is None:
            return None
        return importlib.util.spec_from_file_location(
            fullname, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def main() -> None:
    """Entry point of the child process."""
    at = sys.argv.index("--")
    named = (argument.partition("=") for argument in sys.argv[1:at])
    sys.meta_path.insert(0, LentPackages({name: Path(folder) for name, _, folder in named}))
    sys.argv[1 : at + 1] = []
    runpy.run_module("model_worker.worker", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
