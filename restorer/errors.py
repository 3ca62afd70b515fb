"""What can go wrong, as a tree. Each message is a sentence: what, which value, what to do next.

RestorerError
├── UsageError          the words of a command, a recipe or a config are off
├── InputError          no picture where one was expected
├── ImageError          this picture cannot be read or written; the others can go on
├── ModelError          the model is not there, or not what it says it is
└── DeviceError         the device is missing or out of memory, or nothing there compiles a model
"""


class RestorerError(Exception):
    """Base of every error a user can cause or mend. ``str(error)`` is the sentence to show."""


class UsageError(RestorerError):
    """A name, key or value that is not understood."""


class InputError(RestorerError):
    """Nothing to work on: a missing path, or a folder without pictures."""


class ImageError(RestorerError):
    """One picture that cannot be decoded, is too small or too large, or cannot be written."""


class ModelError(RestorerError):
    """A model that is not found, not readable, or whose weights do not match its card."""


class DeviceError(RestorerError):
    """A device that is not on this machine or has too little memory, or a compiler that is not there or fails."""


def unknown(kind: str, name: str, known: list[str]) -> UsageError:
    """The error for a name that is in no table, with the nearest one that is."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}."
    return UsageError(f"Unknown {kind} {name!r}; {hint}")
