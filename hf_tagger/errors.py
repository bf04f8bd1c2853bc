"""Errors that speak to the user: what was received, what was expected, what to do."""


class HfTaggerError(Exception):
    """Base of every error that the scripts print as a plain message, without a traceback."""


class RecipeError(HfTaggerError, ValueError):
    """A recipe or a command line holds mistakes.

    Args:
        problems: One sentence a mistake. All of them are shown together.
        source: The recipe's path, or another name of where the values came from.
    """

    def __init__(self, problems: list[str], source: str = "recipe"):
        self.problems = list(problems)
        noun = "mistake" if len(self.problems) == 1 else "mistakes"
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{len(self.problems)} {noun} in {source}:\n{lines}")


class DatasetError(HfTaggerError, ValueError):
    """A dataset is missing, incomplete, or does not hold what its protocol promises."""


class AudioDecodingError(HfTaggerError, ValueError):
    """One clip cannot be used. The message is the reason that reports name."""


class RunFolderError(HfTaggerError, ValueError):
    """An output folder cannot be used as asked: it holds another run, or no run at all."""


class Interrupted(HfTaggerError):
    """A run was asked to stop and did so in good order: it has failed at nothing, and can be resumed."""
