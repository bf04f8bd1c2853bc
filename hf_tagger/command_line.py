"""What the scripts share: logging, errors as messages instead of tracebacks, and memory that stays ours."""

from __future__ import annotations

import argparse
import ctypes
import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import ModuleType

from .errors import HfTaggerError, Interrupted

# EX_TEMPFAIL of sysexits.h, which Windows' Python lacks: not done, try again.
INTERRUPTED_STATUS = 75
# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def run_script(main: Callable[[list[str]], None]) -> None:
    """Runs a script's ``main(argv)``.

    A mistake of the user ends with its message and exit status 2, a run that was asked to stop with 75.
    """
    is_main_process = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("hf_tagger").setLevel(logging.INFO if is_main_process else logging.ERROR)
    keep_freed_memory()
    try:
        main(sys.argv[1:])
    except Interrupted as stop:
        if is_main_process:
            print(f"interrupted: {stop}", file=sys.stderr)
        raise SystemExit(INTERRUPTED_STATUS) from None
    except (HfTaggerError, OSError) as error:  # OSError: a folder that cannot be written, a disk that is full
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def subcommand_names(path: Iterable[str], helpers: Collection[str] = ()) -> list[str]:
    """Names of a package's modules, with ``-`` for ``_``, as subcommands of a script.

    Args:
        path: The package's ``__path__``. Modules with a leading underscore are none.
        helpers: Further modules that are none.
    """
    names = (module.name for module in pkgutil.iter_modules(path) if module.name not in helpers)
    return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))


def load_subcommand(package: str, script: str, name: str) -> tuple[ModuleType, argparse.ArgumentParser]:
    """The module of a subcommand, and a parser with what its ``add_arguments(parser)`` adds.

    Args:
        package: Name of the package where it is.
        script: The script's file name, for its help.
        name: One of :func:`subcommand_names`.
    """
    module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"scripts/{script} {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return module, parser


def keep_freed_memory() -> None:
    """Lets glibc keep freed memory for the next allocation instead of returning it to the kernel.

    A training step on a CPU frees its activations and asks for the same amount a moment later; the page faults of
    getting it back took a third of the step (short_cnn, 32 channels: 1.6 times faster with this, 0.5 GB more held).
    Elsewhere than on Linux with glibc it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def check_device(name: str | None) -> None:
    """Raises HfTaggerError if ``--device`` names nothing that this machine can compute on."""
    import torch  # takes seconds, which --help has not

    try:
        torch.empty(0, device=name or "cpu")
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch was built without it
        reason = str(error).splitlines()[0]
        raise HfTaggerError(f"--device {name} cannot be used here: {reason}") from error


def make_folder(name: str | Path, option: str = "--output_dir") -> Path:
    """Makes a folder for results.

    Args:
        name: The folder.
        option: What named it, for the error.

    Raises:
        HfTaggerError: If that is not possible.
    """
    folder = Path(name).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HfTaggerError(f"{option} {folder} cannot be made: {error.strerror}.") from error
    return folder


def output_file(name: str | None) -> Path | None:
    """The path of a file to write after the work, with the folders above it made before; None if none is asked for.

    Raises:
        HfTaggerError: If it is a folder, or lies below a file.
    """
    if name is None:
        return None
    path = Path(name).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HfTaggerError(f"--output {name}: the folder {path.parent} cannot be made: {error.strerror}.") from error
    if path.is_dir():
        raise HfTaggerError(f"--output {name} is a folder; name a file.")
    return path
