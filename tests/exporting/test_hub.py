"""Pushing to the Hugging Face hub: to a real server on loopback, and to one that isn't there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.exporting.hub import serving

from sglr.core.errors import UsageError
from sglr.exporting.hub import NotPushed, check_hub, push


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "joined.onnx").write_bytes(b"\x00weights")
    (tmp_path / "MODEL.md").write_text("---\nlibrary_name: sglr\n---\n\n# A card\n", encoding="utf-8")
    return tmp_path


def test_all_files_are_pushed_with_the_card_as_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        address = push(folder, "owner/name", private=True)
    assert address == f"{hub.address}/owner/name"
    made = hub.made[0]
    assert made.get("visibility") == "private" or made["private"] is True  # as older versions of the library ask for it
    assert hub.files == {
        "joined.onnx": b"\x00weights",
        "MODEL.md": (folder / "MODEL.md").read_bytes(),
        "README.md": (folder / "MODEL.md").read_bytes(),
    }
    assert hub.tokens == {"Bearer hf_secret"}


def test_a_hub_that_is_not_there_is_told_with_where_the_files_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with socket.socket() as taken:  # bound, and not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(NotPushed) as told:
            push(folder, "owner/name", private=True)
    assert f"complete in {folder}" in str(told.value)
    assert "hf_secret" not in str(told.value)


@pytest.mark.parametrize("name", ["name", "owner/na me", "a/b/c", "owner/"])
def test_a_name_that_the_hub_does_not_take_is_refused_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(UsageError, match="give OWNER/NAME"):
        check_hub(name)


def test_a_push_without_a_token_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="hf auth login"):
        check_hub("owner/name")
