"""Published checkpoints → folders of this package's models. A module with ``run`` is a family; no list is kept."""
