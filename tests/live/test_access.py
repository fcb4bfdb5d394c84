"""Who may see the page, and who may stop a run by it."""

from __future__ import annotations

import platform
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.live.access import Access, new_token
from sglr.live.run_view import RunView
from sglr.runs.stop_file import requested_stop
from sglr.storage.lock import locked
from sglr.system.loopback import is_loopback

from .conftest import TOKEN, Page


@pytest.fixture
def page(open_page, folder: Path) -> Page:
    return open_page(RunView(folder))


@pytest.fixture
def public(open_page, folder: Path) -> Page:
    return open_page(RunView(folder), "0.0.0.0")


EVERYTHING = ("/", "/events", "/session", "/live.js", "/live.css", "/runs/x", "/nothing")


def test_off_loopback_nothing_is_shown_without_the_token(public: Page) -> None:
    cookies = ("", "sglr_page=x", f"{public.server.access.cookie}=wrong", f"other={TOKEN}")
    for path in EVERYTHING:
        assert {public.ask(path, Cookie=cookie).code for cookie in cookies} == {401}
        assert public.ask(f"{path}?token=wrong").code == 401
        assert TOKEN not in str(public.ask(path))


def test_the_token_is_given_once_and_then_a_cookie(public: Page) -> None:
    answer = public.ask(f"/?token={TOKEN}")
    assert (answer.code, answer.headers["location"]) == (303, "/")
    cookie, *flags = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(flags)
    shown = public.ask("/", Cookie=cookie)
    assert (shown.code, b"<title>sglr" in shown.body) == (200, True)


def test_on_loopback_all_may_look_and_who_has_the_token_may_stop(page: Page) -> None:
    assert page.ask("/").code == 200
    assert page.ask("/session").body == b'{"page":null}'
    assert page.secret()


def test_a_foreign_name_for_this_machine_is_refused_on_loopback(page: Page) -> None:
    for name in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "[::", ""):
        assert page.ask("/", Host=name).code == 421


def test_every_answer_forbids_foreign_and_inline_code(page: Page) -> None:
    for path in ("/", "/live.js", "/nothing", "/?token=wrong"):
        headers = page.ask(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def stop(page: Page, body: object = None, **changed: str | None) -> tuple[int, str]:
    """Ask to stop as the page does, but for the headers that are changed or left out."""
    host = f"127.0.0.1:{page.port}"
    own = {
        "Cookie": page.cookie,
        "Origin": f"http://{host}",
        "X_Sglr_Page": page.secret(),
        "Content_Type": "application/json",
    }
    headers = {name: value for name, value in (own | changed).items() if value is not None}
    answer = page.ask("/stop", method="POST", body=body or {"run": "", "after": "step"}, **headers)
    return answer.code, answer.body.decode()


FOREIGN: dict[str, dict[str, str | None]] = {
    "another site": {"Origin": "http://evil.example"},
    "another port of this machine": {"Origin": "http://127.0.0.1:1"},
    "a page without an address": {"Origin": "null"},
    "a plain form": {"Origin": None},
    "a site that browsers name": {"Sec_Fetch_Site": "cross-site"},
    "no cookie": {"Cookie": None},
    "a wrong cookie": {"Cookie": "sglr_page=x"},
    "no secret of the page": {"X_Sglr_Page": None},
    "a wrong secret": {"X_Sglr_Page": "x"},
}


def test_a_request_to_stop_that_is_not_from_the_page_is_refused(page: Page, folder: Path) -> None:
    with locked(folder):
        for whence, changed in FOREIGN.items():
            code, told = stop(page, **changed)
            assert (code, told[:12]) == (403, "Not stopped:"), whence
            assert requested_stop(folder) is None, whence


def test_from_the_page_it_stops_a_run_that_a_process_works_on(page: Page, folder: Path) -> None:
    assert stop(page) == (409, "Not stopped: no process works on it.\n")
    with locked(folder):
        assert stop(page, {"run": "", "after": "epoch"}) == (202, "{}")
        assert requested_stop(folder) == "epoch"
        assert stop(page)[0] == 202
        assert requested_stop(folder) == "step"


RUBBISH = (b"x", b"[]", b"{}", b'{"run": "", "after": "never"}', b'{"run": 1, "after": "step"}', b"[" * 9000, b"\xff")


def test_rubbish_stops_nothing(page: Page, folder: Path) -> None:
    with locked(folder):
        assert {stop(page, body)[0] for body in RUBBISH} == {400}
        assert stop(page, Content_Type="text/plain")[0] == 400
        assert requested_stop(folder) is None
    assert page.ask("/stop").code == 405


def test_another_folder_is_neither_shown_nor_stopped(page: Page, folder: Path) -> None:
    with locked(folder):
        for name in ("../run", "other", "..", "/etc"):
            assert stop(page, {"run": name, "after": "step"})[0] == 409
            assert page.ask(f"/events/runs/{name}").code == page.ask(f"/runs/{name}").code == 404


@given(st.text())
def test_only_the_token_is_the_token(given_text: str) -> None:
    access = Access("0.0.0.0", 80, new_token())
    assert not access.is_token(given_text)
    assert not access.holds_token(f"{access.cookie}={given_text}")
    assert access.holds_token(f"a=b; {access.cookie}={access.token}")
    assert access.token not in repr(access)


def test_tokens_can_not_be_guessed() -> None:
    found = {new_token() for _ in range(100)}
    assert len(found) == 100
    assert min(map(len, found)) >= len(secrets.token_urlsafe(32)) >= 43


def test_the_address_of_a_page_on_every_interface_names_the_machine() -> None:
    assert Access("0.0.0.0", 80, "t").address == f"http://{platform.node()}:80/?token=t"
    assert Access("::1", 80, "t").address == "http://[::1]:80/?token=t"


def test_which_addresses_are_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "")))
