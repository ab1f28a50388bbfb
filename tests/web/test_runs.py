"""Addresses and limits, the places for long work, the folder's bound, what the page remembers: without a browser, most
of it without TensorFlow."""

import os
import re
import threading
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import plain_http
import pytest
from conftest import EXAMPLES
from PIL import Image

import camkit
from camkit.errors import InputError
from camkit.web.server import folder as folders
from camkit.web.server import limits, runs, sessions

# Addresses and limits


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        ("0", "1.1.1.1", "peer"),
        ("1", "", "peer"),
        ("1", "1.1.1.1", "1.1.1.1"),
        ("1", "forged, 1.1.1.1", "1.1.1.1"),
        ("2", "forged, 1.1.1.1, 2.2.2.2", "1.1.1.1"),
        ("2", "1.1.1.1", "peer"),
    ],
)
def test_the_address_is_what_the_outermost_of_our_proxies_saw(monkeypatch, proxies, forwarded, expected):
    monkeypatch.setenv("CAMKIT_PROXIES", proxies)
    assert runs.client_address("peer", {"x-forwarded-for": forwarded}) == expected


def test_a_space_has_one_proxy(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "owner/name")
    assert limits.limits().proxies == 1


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "²"])
@pytest.mark.parametrize("variable", [each.metadata["variable"] for each in fields(limits.Limits)])
def test_a_limit_that_is_no_number_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"^{variable} is '{re.escape(value)}': it must be a whole number from 0 on.$"):
        limits.limits()


def test_a_wrong_limit_is_named_at_the_start(monkeypatch):
    from camkit.web.page import main

    monkeypatch.setenv("CAMKIT_LONG_PER_ADDRESS", "many")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == "CAMKIT_LONG_PER_ADDRESS is 'many': it must be a whole number from 0 on."


# Places, requests that are not answered yet


def asks(session: str, address: str = "a"):
    return SimpleNamespace(
        session_hash=session, client=SimpleNamespace(host=address), headers={}, state=SimpleNamespace()
    )


def test_places_are_counted_by_address_and_in_all(monkeypatch):
    monkeypatch.setenv("CAMKIT_LONG_PER_ADDRESS", "1")
    monkeypatch.setenv("CAMKIT_LONG_IN_ALL", "2")
    all_runs = runs.Runs()

    def refused(address: str, sentence: str) -> None:
        with pytest.raises(runs.Busy, match=sentence), all_runs.api_run(asks("me", address)):
            pytest.fail("begun")

    with all_runs.api_run(asks("me", "a")) as first:
        first.seconds_left = 41.6
        refused("a", r"^1 long computations from your address .* in about 42 s\.$")
        with all_runs.api_run(asks("me", "b")) as second:
            second.seconds_left = 7
            refused("c", r"^The server is busy with 2 long computations: .* in 7 s\.$")
            first.cancel.set()  # its place is free at once, for it ends after the block it is at
            with all_runs.api_run(asks("me", "a")):
                pass
    with all_runs.api_run(asks("me", "a")):
        pass


def test_the_newest_request_has_the_page_whichever_begins_first():
    all_runs, (older, unasked, newer) = runs.Runs(), [asks("me") for _ in range(3)]
    for request in (older, unasked, newer):
        request.state.pending = runs.Pending("a", "me")
    with all_runs.page_run(newer) as new, all_runs.page_run(older) as old:
        assert old.cancel.is_set() and not new.cancel.is_set() and old.number < new.number
    older.state.pending.cancel.clear()
    with all_runs.page_run(unasked, unasked=True) as by_itself, all_runs.page_run(older) as asked:
        assert by_itself.cancel.is_set() and not asked.cancel.is_set()
        with all_runs.page_run(asks("me"), unasked=True) as by_itself:
            assert by_itself.cancel.is_set() and not asked.cancel.is_set()
    assert not all_runs.busy("me")


def test_a_page_has_one_run_and_a_new_one_ends_the_old(monkeypatch):
    all_runs = runs.Runs()
    with all_runs.page_run(asks("me")) as old, all_runs.page_run(asks("you")) as other:
        with all_runs.page_run(asks("me")) as new:
            assert old.cancel.is_set() and not new.cancel.is_set()
            with pytest.raises(InputError, match="^Stopped"):
                old.last(each for each in [1])
        all_runs.stop("you")
        assert other.cancel.is_set()
    monkeypatch.setenv("CAMKIT_LONG_PER_ADDRESS", "0")
    with pytest.raises(runs.Busy), all_runs.page_run(asks("me")):
        pass
    assert not all_runs.busy("me")  # who was refused holds nothing


def test_requests_are_given_up_with_the_last_stream_of_their_session():
    known = runs.PendingRequests()
    one, two, other = runs.Pending("a", "me", "1"), runs.Pending("a", "me", "2"), runs.Pending("b", "you", "3")
    for each in (one, two, other):
        known.add(each)
    for _ in range(2):
        known.open_stream("me")
    known.answered("1")
    assert (known.count("a"), known.count("b")) == (1, 1)
    known.close_stream("me", cut_off=True)
    assert not two.cancel.is_set()
    known.close_stream("me", cut_off=True)
    assert [each.cancel.is_set() for each in (one, two, other)] == [False, True, False]
    assert (known.count("a"), known.listened("me"), known.session_of("3")) == (0, False, "you")


def test_long_work_that_nobody_listens_to_is_given_up(server_url, monkeypatch):
    from camkit.web import api

    cancelled = threading.Event()
    monkeypatch.setattr("camkit.web.server.gatekeeper.LISTENER_COMES", 0.01)
    monkeypatch.setattr(api, "open_upload", lambda path: pytest.fail("never"))
    take_place = runs.RUNS.take_place

    def remember(run) -> None:
        take_place(run)
        assert run.cancel.wait(60)
        cancelled.set()
        raise InputError("over")

    monkeypatch.setattr(runs.RUNS, "take_place", remember)
    path = plain_http.upload(server_url, (EXAMPLES / "coffee.jpg").read_bytes())
    data = [{"path": path, "meta": plain_http.META}, ["scorecam"]]
    plain_http.join(server_url, plain_http.event_id(server_url, "compare"), data).raise_for_status()
    assert cancelled.wait(60)


def test_a_request_that_passes_no_queue_gives_up_no_other(server_url, monkeypatch):
    monkeypatch.setattr("camkit.web.server.gatekeeper.LISTENER_COMES", 0)
    runs.PENDING.add(joining := runs.Pending("another"))
    for _ in range(2):
        body = {"fn_index": plain_http.event_id(server_url, "on_stop"), "data": [], "session_hash": "me"}
        httpx.post(f"{server_url}/gradio_api/run/predict", json=body).raise_for_status()
    assert not joining.cancel.is_set()
    runs.PENDING.discard(joining)


# The folder of uploads


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("CAMKIT_UPLOAD_MEGABYTES", "10")
    monkeypatch.setenv("CAMKIT_UPLOAD_MEGABYTES_PER_ADDRESS", "8")
    return tmp_path


def lay(folder: Path, name: str, megabytes: int, age: float) -> Path:
    path = folder / name / "file"
    path.parent.mkdir()
    path.write_bytes(bytes(megabytes * 1_000_000))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_least_used_files_go_first_and_none_that_may_be_in_use(folder):
    oldest, older, young = lay(folder, "a", 4, 300), lay(folder, "b", 4, 200), lay(folder, "c", 4, 1)
    assert folders.make_room()
    assert [path.exists() for path in (oldest, older, young)] == [False, True, True]
    folders.begin_upload("x", 5_000_000)
    assert [path.exists() for path in (older, young)] == [False, True]
    with pytest.raises(folders.NoRoom, match=r"^The server's folder of uploads is full: try again in a minute\.$"):
        folders.begin_upload("y", 7_000_000)


def test_what_gradio_does_not_know_goes_after_two_hours_and_empty_folders_after_a_minute(folder):
    old, young = lay(folder, "a", 1, 2 * runs.FILES_LIVE + 1), lay(folder, "b", 1, 60)
    folders.make_room()
    assert [old.exists(), old.parent.exists(), young.exists()] == [False, True, True]
    os.utime(old.parent, (time.time() - folders.KEEP - 1,) * 2)
    young.unlink()
    os.utime(folder, (0, 0))
    folders.make_room()
    assert [path.name for path in folder.iterdir()] == ["b"]


def test_answers_are_files_of_their_own_within_the_bound(folder):
    old = lay(folder, "a", 9, 300)
    one, other = (Path(folders.write_file("map.png", bytes(1_500_000))) for _ in range(2))
    assert one != other and one.name == other.name == "map.png"
    assert not old.exists()


def test_one_address_has_a_share_of_a_minutes_uploads(folder):
    folders.begin_upload("share", 5_000_000)
    words = r"^At most 8 MB may be uploaded from an address in a minute: try again in 6\d seconds\.$"
    with pytest.raises(folders.NoRoom, match=words) as caught:
        folders.begin_upload("share", 5_000_000)
    assert 59 <= caught.value.wait <= 62
    folders.begin_upload("another", 5_000_000)


def test_a_picture_as_base64_counts_as_an_upload(folder):
    from camkit.web.server.uploads import file_of

    picture = {"url": "data:image/png;base64," + "AAAA" * 1_700_000}  # 5.1 MB
    assert file_of(picture, "base64").stat().st_size == 5_100_000
    with pytest.raises(folders.NoRoom, match="^At most 8 MB may be uploaded"):
        file_of(picture, "base64")


def test_parts_of_uploads_that_were_cut_off_are_removed(folder):
    (folder / "tmpabc").write_bytes(b"x")
    answer = Path(folders.write_file("map.png", b"a map"))
    folders.remove_parts()
    assert not (folder / "tmpabc").exists() and answer.exists()


def test_the_folder_is_one_of_our_own(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for _ in range(2):
        folders.claim_folder()
        (own,) = tmp_path.iterdir()
        assert os.environ["GRADIO_TEMP_DIR"] == str(own)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))
    with pytest.raises(SystemExit, match="cannot be written: set GRADIO_TEMP_DIR to a folder that can"):
        folders.claim_folder()


# What the page remembers


def test_pages_are_forgotten_oldest_first_and_told_so(monkeypatch, lite0, chelsea):
    monkeypatch.setenv("CAMKIT_PAGES", "3")
    monkeypatch.setenv("CAMKIT_PAGES_PER_ADDRESS", "2")
    explanation = camkit.explain(lite0, chelsea, ["gradcam"])
    kept = sessions.Memories()
    monkeypatch.setattr(sessions, "MEMORIES", kept)

    def keep(visitor: str, address: str) -> None:
        kept.keep(runs.Run(1, visitor, address), b"", explanation, {})

    keep("1", "a")
    keep("2", "a")
    assert kept.find("1").known.class_index == explanation.class_index  # used: now the younger of the two
    keep("3", "a")
    with pytest.raises(InputError, match="^The server has no picture of this page, or no longer"):
        kept.find("2")
    keep("4", "b")
    keep("5", "c")
    assert len(kept) == 3
    with pytest.raises(InputError, match="no longer"):
        kept.find("1")


def test_a_result_is_found_by_its_token_and_what_no_page_shows_goes_first(monkeypatch, lite0, chelsea):
    monkeypatch.setenv("CAMKIT_PAGES_PER_ADDRESS", "3")
    explanation = camkit.explain(lite0, chelsea, ["gradcam"])
    kept = sessions.Memories()
    other, *own = (
        kept.keep(runs.Run(number, visitor, "a"), b"", explanation, {"class": str(number)})
        for number, visitor in enumerate(("other", "me", "me", "me"))
    )
    assert [kept.recall(token) is not None for token in (other, *own)] == [True, False, True, True]
    assert kept.recall(None) is kept.recall(["x"]) is None
    run = runs.Run(4, "reloaded", "a")
    assert kept.show(run, kept.recall(own[1])).query == {"class": "2"}
    assert kept.find("reloaded").token == own[1] and kept.find("reloaded").run == 4
    assert kept.keep(runs.Run(3, "reloaded", "a"), b"", explanation, {}) == ""  # of an older run, too late


def test_measurements_are_kept_with_the_run_they_are_of(lite0, chelsea):
    kept = sessions.Memories()
    explanation = camkit.explain(lite0, chelsea, ["gradcam"])
    kept.keep(runs.Run(1, "me", "a"), b"", explanation, {})
    kept.measured("me", 1, {"gradcam": "figures"})
    assert kept.find("me").measurements == {"gradcam": "figures"}
    kept.keep(runs.Run(2, "me", "a"), b"", explanation, {})  # other maps
    kept.keep(runs.Run(1, "me", "a"), b"", explanation, {})  # the last of the old run, too late
    assert kept.find("me").run == 2
    kept.measured("me", 1, {"gradcam": "figures"})  # of the old ones, too late
    kept.measured("nobody", 1, {"gradcam": "figures"})
    assert kept.find("me").measurements == {}


def test_what_is_remembered_is_small_and_gives_the_same_back(monkeypatch, lite0, chelsea):
    from camkit.web.server.uploads import page_jpeg

    picture = page_jpeg(chelsea)
    shown_image = camkit.open_picture(picture)
    explanation = camkit.explain(lite0, shown_image, ["gradcam", "gradcam_plus_plus"])
    sessions.MEMORIES.keep(runs.Run(1, "me", "a"), picture, explanation, {})
    memory = sessions.MEMORIES.find("me")
    arrays = [cam.raw.nbytes + cam.map.nbytes for cam in memory.known.cams.values()]
    assert len(memory.picture) + sum(arrays) + memory.known.image.nbytes < 300_000
    again = memory.explanation
    assert (again.image == shown_image).all()
    for key, cam in explanation.cams.items():
        assert (again.cams[key].map == cam.map).all()
        assert (again.cams[key].raw == cam.raw).all()


def test_the_picture_of_the_page_says_how_16_bits_are_shown(lite0, tmp_path):
    from camkit.web.server.uploads import page_jpeg, page_picture, window_of
    from camkit.web.tabs.maps import explained_html

    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    picture = page_picture(tmp_path / "deep.png")
    assert window_of(picture) == "shown from 0 to 4095 of 65535"
    explanation = camkit.explain(lite0, camkit.open_picture(picture), ["gradcam"])
    assert "grey values are shown from 0 to 4095 of 65535" in explained_html(explanation, window_of(picture))
    assert "grey values" not in explained_html(explanation)
    for comment in ("", "shown from <b> to", "made with a camera"):
        assert window_of(page_jpeg(explanation.image, comment)) == ""


def test_a_page_that_was_forgotten_says_so_and_works_on(server_url, monkeypatch):
    session = "forgotten"
    settings = [["gradcam"], "efficientnet_lite0", "top_activation", 10, True]
    path = plain_http.upload(server_url, (EXAMPLES / "coffee.jpg").read_bytes())

    def event(name: str, *values) -> dict:
        number = plain_http.event_id(server_url, name)
        plain_http.join(server_url, number, [*values, *settings], session, {"file": path}).raise_for_status()
        return plain_http.outcome(server_url, session)

    assert event("on_picture")["success"]
    assert event("on_settings")["success"]
    monkeypatch.setattr("camkit.web.tabs.maps.MEMORIES", other := sessions.Memories())
    monkeypatch.setattr(sessions, "MEMORIES", other)
    assert plain_http.refusal(event("on_settings")) == sessions.FORGOTTEN
    assert plain_http.refusal(event("on_class", 7)) == sessions.FORGOTTEN
    assert event("on_picture")["success"]
