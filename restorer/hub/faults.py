"""What the Hub's client raises -> what happened, whether it may pass, and a sentence.

What it raises has no base of its own, and of most faults it says to check the connection.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from restorer.errors import ModelError, RestorerError

TOKEN = "set HF_TOKEN to a token that may read it, or run: hf auth login"


class UnreachableError(ModelError):
    """The Hub cannot be asked at present; what is here already may do."""


@contextmanager
def told(repo: str, revision: str | None) -> Iterator[None]:
    """Within, what the client raises becomes ``ModelError`` with a sentence, or ``UnreachableError``."""
    try:
        yield
    except RestorerError:
        raise
    except Exception as error:  # see above
        found = cause(error)
        kind = UnreachableError if is_unreachable(found) else ModelError
        raise kind(sentence(found, repo, revision)) from error


def hush() -> None:
    """The client says nothing of what it tries again, unless HF_HUB_VERBOSITY or HF_DEBUG asks for that."""
    if not (os.environ.get("HF_HUB_VERBOSITY") or os.environ.get("HF_DEBUG")):
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()


def cause(error: BaseException) -> BaseException:
    """What really happened, which the client keeps behind what it raises."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__
    return error


def may_pass(error: BaseException) -> bool:
    """Whether a failure is one that the client does not try again itself, though it may help."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    cut_short = isinstance(error, OSError) and "Consistency check failed" in str(error)
    return cut_short or isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)


def is_unreachable(error: BaseException) -> bool:
    """Whether the Hub cannot be asked at present."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


def sentence(error: BaseException, repo: str, revision: str | None) -> str:
    """What to tell of what happened (see ``cause``), and what to do."""
    from huggingface_hub import constants, errors
    from huggingface_hub.utils import httpx

    if isinstance(error, errors.GatedRepoError):
        return f"{repo} is gated: accept its terms on its page, then {TOKEN}."
    if isinstance(error, errors.DisabledRepoError):
        return f"{repo} was disabled by the Hub, so nobody can have it; use another model."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"No model {repo!r}: no such folder here, and no such repository on the Hub, unless it is a private one; "
            f"check the name, and for a private one {TOKEN}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}; name a branch, a tag or a commit of 40 hex digits behind the @."
    if isinstance(error, errors.HfHubHTTPError):
        return _answer(error, repo)
    if isinstance(error, httpx.TransportError):
        reason = (str(error) or type(error).__name__).rstrip(".")
        return (
            f"{repo} is not on this machine, and {constants.ENDPOINT} cannot be reached: {reason}. Check network and "
            "proxy, or give the model's folder."
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            f"No room for {repo} in {constants.HF_HUB_CACHE}: the disk is full. Make room, or set HF_HOME to a folder "
            "on another disk."
        )
    if isinstance(error, PermissionError):
        return f"{repo} cannot be kept: {error}. Set HF_HOME to a folder that may be written to."
    return f"{repo} cannot be fetched: {type(error).__name__}: {one_line(str(error)).rstrip('.')}."


def _answer(error: BaseException, repo: str) -> str:
    status = error.response.status_code
    said = one_line(error.server_message or "")
    told = f"{status}, {said}" if said else str(status)
    if status in (401, 403):
        return f"The Hub refuses {repo} ({told}): {TOKEN}."
    if status == 407:
        return f"The proxy on the way to the Hub wants to know who asks ({told}); put user and password in HTTPS_PROXY."
    if status == 429:
        return f"The Hub was asked too often for {repo} ({told}); wait some minutes, or log in: hf auth login."
    return f"The Hub does not give {repo} ({told}); try again later."


def one_line(text: str) -> str:
    """A text of several lines as one."""
    return " ".join(text.split())
