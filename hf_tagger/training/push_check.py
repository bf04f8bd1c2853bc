"""What would stop a push hours later, said before training begins. It stops nothing: a push can be done at any time."""

from __future__ import annotations

import logging

from huggingface_hub import constants, get_token

from ..arguments import TaggingArguments

logger = logging.getLogger(__name__)


def warn_of_push(args: TaggingArguments) -> None:
    """Warns if the run is to be pushed and this machine cannot push as it is now."""
    if not args.pushes_to_hub or args.process_index != 0:
        return
    if constants.is_offline_mode():
        logger.warning("push_to_hub: HF_HUB_OFFLINE is set; the run will be trained, and not pushed.")
    elif get_token() is None:
        logger.warning(
            "push_to_hub: there is no token on this machine. Unless you log in before the run is finished "
            "(hf auth login), it will be trained, and not pushed."
        )
