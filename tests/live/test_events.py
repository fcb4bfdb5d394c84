"""What a page is told while a run goes on, and that it ends with its readers."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from sglr.live.hub import MOST_WAITING
from sglr.live.run_view import RunView
from sglr.live.view import changes
from sglr.storage.lock import locked

from .conftest import Stream
from .made_up import make_folder, progress, record, status, write


def test_new_epochs_progress_and_clients_arrive_within_a_second(open_page, folder: Path) -> None:
    with locked(folder):
        stream = Stream(open_page(RunView(folder)))
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        name, first = stream.next()
        assert (name, len(first["history"]), first["run"]["state"]) == ("all", 3, "training")
        assert [row[0] for row in first["clients"]] == [0, 1, 2, 3, 4]
        began = time.monotonic()
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record(4)) + "\n")
        assert [(row["epoch"], row["up_bytes"]) for row in stream.until("history+")] == [(4, 16_000_000)]
        write(folder / "progress.json", json.dumps(progress(5, 77)))
        assert stream.until("progress")["step"] == 77
        moved = status(5, 0)
        moved["clients"][3] |= {"state": "out", "reason": "quarantined: NaN"}
        write(folder / "status.json", json.dumps(moved))
        (row,) = [row for row in stream.until("clients+") if row[0] == 3]
        assert (row[1], row[10]) == ("out", "quarantined: NaN")
        assert time.monotonic() - began < 3
        stream.close()


def test_who_comes_later_sees_all_and_everyone_is_told_the_end(open_page, folder: Path) -> None:
    page = open_page(RunView(folder))
    streams = [Stream(page), Stream(page)]
    assert streams[0].next() == streams[1].next()
    (folder / "summary.json").write_text(json.dumps({"test": {"accuracy": 0.5, "headline": "accuracy"}}))
    page.server.end()
    for stream in streams:
        told = dict([stream.next(), stream.next()])
        assert told["change"]["run"]["state"] == "finished"
        assert told["change"]["test"]["mean"] == 0.5
        assert told["end"] == {}
        stream.close()


def test_browsers_that_close_leave_no_thread_and_no_reader(open_page, folder: Path) -> None:
    looked: list[float] = []

    class Counted(RunView):
        def read(self):
            looked.append(time.monotonic())
            return super().read()

    page = open_page(Counted(folder))
    first = Stream(page)
    first.next()
    first.close()
    before = threading.active_count()
    for _ in range(10):
        stream = Stream(page)
        stream.next()
        stream.close()
    end = time.monotonic() + 20
    while page.server.server_state.connections and time.monotonic() < end:
        write(folder / "progress.json", json.dumps(progress(5, int(1000 * time.monotonic()))))
        time.sleep(0.05)
    assert not page.server.server_state.connections
    assert threading.active_count() <= before + 2  # of asyncio's few that read files
    number = len(looked)
    time.sleep(3 * RunView.seconds)
    assert len(looked) <= number + 1


def test_changes_are_what_was_added_and_the_rows_that_differ() -> None:
    before = {"history": [1, 2], "clients": [[0, "here"], [1, "here"]], "runs": [{"name": "a", "n": 1}], "same": {}}
    now = {"history": [1, 2, 3], "clients": [[0, "here"], [1, "out"]], "runs": [{"name": "a", "n": 2}], "same": {}}
    assert changes(before, now) == {"history+": [3], "clients+": [[1, "out"]], "runs+": [{"name": "a", "n": 2}]}
    # A run that went back to a checkpoint, and a client more: all of it anew.
    assert changes(before, {"history": [1, 4], "clients": [[0, "here"]]}) == {
        "history": [1, 4],
        "clients": [[0, "here"]],
    }
    assert changes({}, now) == now


def test_a_browser_that_reads_slowly_gets_everything_anew(tmp_path: Path) -> None:
    import asyncio

    from sglr.live.hub import Hub

    folder = make_folder(tmp_path / "run", 2, 1)

    class Quick(RunView):
        seconds = 0.0

    async def slow() -> list[str]:
        hub = Hub(Quick(folder), lambda: False)
        events = hub.events()
        names = [(await anext(events)).split(b"\n")[0].decode()]
        for step in range(3 * MOST_WAITING):
            write(folder / "progress.json", json.dumps(progress(2, step)))
            shown = hub._shown
            while hub._shown is shown or hub._shown["progress"]["step"] != step:
                await asyncio.sleep(0.001)
        event = await anext(events)
        names.append(event.split(b"\n")[0].decode())
        assert json.loads(event.split(b"data: ")[1])["progress"]["step"] == 3 * MOST_WAITING - 1
        await events.aclose()
        assert not hub.watched
        return names

    assert asyncio.run(slow()) == ["event: all", "event: all"]


@pytest.mark.parametrize("number", [500])
def test_with_many_clients_only_those_that_changed_are_sent(tmp_path: Path, number: int) -> None:
    view = RunView(make_folder(tmp_path / "run", number, 3))
    told = status(number, 0)
    write(view.folder / "status.json", json.dumps(told))
    before = view.read()
    told["clients"][7]["state"] = "away"
    write(view.folder / "status.json", json.dumps(told))
    found = changes(before, view.read())
    assert [row[:2] for row in found["clients+"]] == [[7, "away"]]
    assert found.keys() == {"clients+"}
