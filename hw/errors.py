"""The base of every error that a user can cause and mend."""

__all__ = ["DorefabricError"]


class DorefabricError(Exception):
    """Bad input, a missing tool, a board that does not answer.

    The message is one line that names the thing, the value and the way out. The command line prints it and
    exits with status 2; nothing else is shown and nothing is left half-written.
    """
