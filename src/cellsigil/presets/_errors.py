"""What can go wrong in a run, and how it is said."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used: a path, a table, a preset."""


class StepError(RuntimeError):
    """A step of the preset failed; the message says which and why."""


def sentence(error: BaseException) -> str:
    """Return an error's message; str(KeyError) alone would put it in quotes."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return str(error) or type(error).__name__
