"""Makes ``import hf_tagger`` register the models and the pipeline without importing them, which takes seconds.

Nobody can ask transformers for a model or a pipeline before its modules :data:`AWAITED` are imported. So our part,
which registers itself when it is imported, is imported right after them: at once if they are there already, else by
:class:`_ImportsAwaited`, which sees every import of transformers until then.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

AWAITED = {
    "transformers.models.auto.configuration_auto": "hf_tagger.models",  # all other Auto classes import this module
    "transformers.pipelines": "hf_tagger.pipeline",
}
"""Modules of transformers, and what registers itself there."""

_PACKAGES = ("transformers", "hf_tagger", "accelerate", "datasets", "evaluate", "peft")
"""Of whose imports the outermost has to end first. The libraries import transformers half-way, and we import them."""


def register_when_asked_for() -> None:
    """Registers with what transformers has imported already, and with the rest as soon as it is imported."""
    if not any(isinstance(finder, _ImportsAwaited) for finder in sys.meta_path):
        finder = _ImportsAwaited()
        sys.meta_path.insert(0, finder)
        finder.register()


class _ImportsAwaited(MetaPathFinder):
    """Finds nothing itself; looks at :data:`AWAITED` after each import of transformers that no other one started.

    Not right after the awaited module: transformers imports it half-way through ``modeling_utils``, which our models
    need whole. Our own modules count too, or the pipeline might be imported by a module that it needs, and so do
    libraries: evaluate imports transformers' pipelines before it has the class from which our metrics derive.
    """

    def __init__(self) -> None:
        self._awaited = dict(AWAITED)
        self._thread = threading.local()  # of each thread, how many imports are within each other

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        finders = list(sys.meta_path)
        if fullname.partition(".")[0] not in _PACKAGES or self not in finders:
            return None
        for finder in finders[finders.index(self) + 1 :]:  # who would be asked without this one
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    self._watch(spec)
                return spec
        return None

    def _watch(self, spec: ModuleSpec) -> None:
        """Lets the loader of this module tell the beginning and the end of the import, once."""
        loader, execute = spec.loader, spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)  # the module keeps the loader, as it was
            depth = getattr(self._thread, "depth", 0)
            self._thread.depth = depth + 1
            try:
                execute(module)
                if depth == 0:
                    self.register()
            finally:
                self._thread.depth = depth

        loader.exec_module = exec_module

    def register(self) -> None:
        """Imports what registers itself with the modules that are there by now; its errors are the import's."""
        for awaited, ours in list(self._awaited.items()):
            if awaited in sys.modules:
                importlib.import_module(ours)
                self._awaited.pop(awaited, None)  # another thread may have been here
        if not self._awaited and self in sys.meta_path:
            sys.meta_path.remove(self)
