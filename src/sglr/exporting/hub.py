"""Push an export to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sglr.core.errors import SglrError, UsageError
from sglr.exporting.card import CARD
from sglr.exporting.exporter import one_line
from sglr.version import __version__


class NotPushed(SglrError):  # noqa: N818 - says what happened
    """The hub is not there or refuses; the export is on the disk."""


def check_hub(repository: str) -> None:
    """Refuse what can't be pushed, before anything is exported.

    Raises
    ------
    UsageError
        If the name is no OWNER/NAME, or there is no token.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    if "/" not in repository:
        raise UsageError("push_to_hub", repository, "has no owner", "give OWNER/NAME")
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UsageError("push_to_hub", repository, " ".join(str(error).split()), "give OWNER/NAME") from error
    if get_token() is None:
        remedy = "log in with hf auth login, or set HF_TOKEN"
        raise UsageError("push_to_hub", repository, "there is no token for the hub on this machine", remedy)


def push(folder: Path, repository: str, private: bool) -> str:
    """Push a folder's files as one commit, with the card as the repository's README.md; return the address.

    Raises
    ------
    NotPushed
        If the hub is not there or refuses; the message tells where the files are.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(library_name="sglr", library_version=__version__)
    operations = [CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
    operations.append(CommitOperationAdd("README.md", folder / CARD))
    try:
        made: Any = api.create_repo(repository, private=private, exist_ok=True)
        api.create_commit(repository, operations, commit_message=f"Export of sglr {__version__}")
    except Exception as error:  # of the hub's client and of the network: they change between versions
        what = f"{repository} was not pushed to {api.endpoint} ({one_line(error)})"
        raise NotPushed(
            f"{what}; the export is complete in {folder}, push it later: hf upload {repository} {folder}"
        ) from error
    return str(made)
