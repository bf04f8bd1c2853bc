"""What the scripts share: logging, and errors as messages instead of tracebacks."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from .errors import HfTaggerError


def run_script(main: Callable[[list[str]], None]) -> None:
    """Runs a script's ``main(argv)``; a mistake of the user ends with its message and exit code 2."""
    is_main_process = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("hf_tagger").setLevel(logging.INFO if is_main_process else logging.ERROR)
    try:
        main(sys.argv[1:])
    except HfTaggerError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
