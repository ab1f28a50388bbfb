"""The short form of hostile.py: what one visitor may do to the others, in numbers that a fast and a slow machine keep.

How long things take is printed by the script, and asserted by nobody here.
"""

import re
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import hostile
import plain_http
import pytest
from hostile import ALL_FOUR, OTHER, PICTURE
from plain_http import META

pytestmark = pytest.mark.slow
SHORT_SCORECAM = ["faster_scorecam", "", "auto", "block3b_add", 1, 0.5, "viridis"]


@pytest.fixture(scope="module")
def server():
    with hostile.own_server(CAMKIT_UPLOAD_MEGABYTES_PER_ADDRESS="60") as server:
        yield server


@pytest.fixture(scope="module")
def picture(server) -> dict:
    return {"path": plain_http.upload(server.url, PICTURE.read_bytes(), address=OTHER), "meta": META}


def test_a_flood_of_long_work_keeps_nobody_else_out(server):
    found = hostile.flood(server, posts=90, rounds=3)
    assert found["refused"] == 0
    assert set(found["statuses"]) <= {200, 429}
    assert found["statuses"][429]


def test_long_work_has_places_that_are_free_again_when_nobody_listens(server, picture):
    address, number = "203.0.113.9", server.event("compare")
    data = [picture, ["scorecam"], "", "auto", "", 10, False]
    begun, left = [threading.Event() for _ in range(4)], threading.Event()

    def listen(event: threading.Event) -> None:
        session = uuid.uuid4().hex
        plain_http.join(server.url, number, data, session, address=address).raise_for_status()
        for message in plain_http.messages(server.url, session, address):
            assert message["msg"] != "process_completed", message
            if message["msg"] == "process_generating":
                event.set()
            if left.is_set():
                return

    with ThreadPoolExecutor(len(begun)) as pool:
        listeners = [pool.submit(listen, event) for event in begun]
        for event in begun:
            assert event.wait(hostile.LIMIT)
        refused = hostile.call(server, number, data, address)
        page = [ALL_FOUR, "efficientnet_lite0", "top_activation", 10, True]
        sent = {"file": picture["path"]}
        quick = hostile.call(server, server.event("on_picture"), page, address, sent)
        beside = hostile.call(server, server.event("explain"), [picture, *SHORT_SCORECAM], OTHER)
        left.set()
        for listener in listeners:
            listener.result(hostile.LIMIT)
    words = r"4 long computations from your address are under way, the most allowed: try again in about \d+ s\."
    assert re.fullmatch(words, refused["output"]["error"])
    panels = quick["output"]["data"][0]["panels"]  # the page still shows what is quick
    assert [("map" in panel) for panel in panels] == [True, True, False, False]
    assert re.fullmatch(words, panels[3]["wait"])
    assert beside["success"]
    end = time.monotonic() + hostile.LIMIT  # the server learns of it a moment later
    while not (again := hostile.call(server, server.event("explain"), [picture, *SHORT_SCORECAM], address))["success"]:
        assert re.fullmatch(words.replace("4", r"\d"), again["output"]["error"]) and time.monotonic() < end


def test_small_files_with_large_pictures_do_not_fill_the_memory(server):
    found = hostile.large_pictures(server, 12)
    assert found["answered"] == 12
    assert found["peak"] < 400  # all of them at once would be 900
    assert found["left"] < 100


def test_pages_that_were_left_do_not_fill_the_memory(server):
    found = hostile.left_pages(server, 12)
    assert found["answered"] == 15 + 3 * 12
    assert min(found["for each"]) < 1.0  # a picture of its own alone would be 3 MB


def test_uploads_leave_nothing_when_cut_off_and_have_a_bound(server):
    found = hostile.uploads(server, cut=3, whole=5)
    assert found["parts left"] == found["tracebacks"] == 0
    assert found["statuses"] == {200: 3, 429: 2}
    assert found["another visitor"] == 200


def test_broken_pictures_are_answered_or_refused_in_a_sentence(server):
    found = hostile.broken_pictures(server, 6)
    assert sum(found.values()) == 3 * 6 + 2
    assert "Traceback" not in server.log.read_text()
