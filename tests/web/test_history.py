"""Back, forward, a reload and a link: what was looked at comes back, without being computed again."""

import threading

import pytest
from browsing import COMPLETE, OPENING, PARTIAL, PATIENCE, explaining, panel, stop
from conftest import EXAMPLES

from camkit.web.server import sessions
from camkit.web.tabs import maps

pytestmark = pytest.mark.browser
START = "?methods=gradcam"


def computes(*_):
    raise AssertionError("computed again")
    yield


def mapped(page, name: str) -> None:
    """Wait for the last map of a class: before, the server would make it again."""
    explaining(page, name)
    panel(page, "gradcam", COMPLETE).locator(f"canvas[aria-label*='what speaks for {name}']").wait_for()


def measured(page) -> None:
    page.locator("#evidence .measured:not(.stale) .words").wait_for(state="attached")  # in whatever tab


def at(page, **wanted: str) -> None:
    """Waits until the address has these values, and no others of the picture and the tab."""
    page.wait_for_function(
        """wanted => { const query = new URLSearchParams(location.search), names = ["example", "class", "layer", "tab"];
          return names.every(name => (query.get(name) ?? "") === (wanted[name] ?? "")); }""",
        arg=wanted,
    )


def tab(page, name: str):
    return page.get_by_role("tab", name=name, selected=True)


def bring(page, name: str, found: str) -> None:
    page.locator("#picture input[type=file]").set_input_files(EXAMPLES / name)
    explaining(page, found)


def length(page) -> int:
    return page.evaluate("history.length")


def test_back_and_forward_go_through_what_was_looked_at(visit, short_measurement, monkeypatch):
    page = visit(query=f"{START}&tab=evidence")
    measured(page)
    entries = length(page)
    page.locator("#prediction button", has_text="cup").click()
    mapped(page, "cup")
    measured(page)
    page.get_by_role("tab", name="About").click()
    at(page, example="cat_and_coffee", **{"class": "cup"}, tab="about")
    page.locator("#examples button", has_text="Petals or centre?").click()
    mapped(page, "daisy")
    at(page, example="flower", **{"class": "daisy"}, tab="about")
    page.locator("#explained .story").wait_for()
    bring(page, "coffee.jpg", "espresso")
    at(page, tab="about")
    assert length(page) == entries + 4
    assert page.title() == "espresso · Class activation maps, side by side"
    mapped(page, "espresso")
    monkeypatch.setattr("camkit.web.tabs.maps.explain_stream", computes)
    monkeypatch.setattr("camkit.web.tabs.evidence.measure", computes)
    page.go_back()
    explaining(page, "daisy")
    page.locator("#explained .story").wait_for()
    page.go_back()
    explaining(page, "cup")
    assert page.locator("#prediction button[aria-pressed=true]").inner_text().startswith("cup")
    page.go_back()
    tab(page, "How far to believe it").wait_for()
    measured(page)
    page.go_back()
    explaining(page, OPENING)
    at(page, example="cat_and_coffee", **{"class": OPENING}, tab="evidence")
    measured(page)
    for name in ("cup", "cup", "daisy", "espresso"):
        page.go_forward()
        explaining(page, name)
    at(page, tab="about")
    tab(page, "About").wait_for()
    page.wait_for_function("document.querySelector('#picture img').naturalWidth === 600")
    assert length(page) == entries + 4
    page.get_by_role("tab", name="Cover and see").click()
    page.go_back()
    page.go_back()
    explaining(page, "daisy")


def test_settings_and_the_same_again_make_no_entry(visit):
    page = visit(query=START)
    explaining(page, OPENING)
    entries = length(page)
    page.locator("#settings button").first.click()
    page.get_by_role("checkbox", name="Grad-CAM++", exact=True).check()
    panel(page, "gradcam_plus_plus", COMPLETE).wait_for()
    page.wait_for_function("location.search.includes('gradcam_plus_plus')")
    page.locator("#examples button", has_text="Cat or coffee?").click()
    page.locator("#explained .story").wait_for()
    assert length(page) == entries
    page.locator("#layer").get_by_label("block6d_add").click()
    at(page, example="cat_and_coffee", **{"class": OPENING}, layer="block6d_add")
    assert length(page) == entries + 1
    page.go_back()
    at(page, example="cat_and_coffee", **{"class": OPENING})
    page.locator("#layer").get_by_label("top_activation").and_(page.locator(":checked")).wait_for()
    assert page.get_by_role("checkbox", name="Grad-CAM++", exact=True).is_checked()


def test_answers_that_come_before_gradio_knows_of_what_lose_nothing(visit, held_work, monkeypatch):
    """While other answers stream, those to a new request may come before its number does, and are then read at once."""
    page = visit(query=START)
    panel(page, "gradcam", COMPLETE).wait_for()
    page.locator("#settings button").first.click()
    page.locator("#layer").get_by_label("block6d_add").click()
    at(page, example="cat_and_coffee", **{"class": OPENING}, layer="block6d_add")
    page.get_by_role("checkbox", name="Score-CAM", exact=True).check()
    panel(page, "scorecam", PARTIAL).wait_for()  # and goes on
    shown, show_again = threading.Event(), maps.show_again

    def told(*given):
        yield from show_again(*given)
        shown.set()

    def late(route):
        answer = route.fetch()
        assert shown.wait(PATIENCE / 1000)
        route.fulfill(response=answer)

    monkeypatch.setattr(maps, "show_again", told)
    page.route("**/queue/join*", late, times=1)
    page.go_back()
    page.locator("#layer").get_by_label("top_activation").and_(page.locator(":checked")).wait_for()
    page.locator("#max-n input[type=range][max='1280']").wait_for()


def test_a_reload_brings_an_own_picture_without_computing(visit, short_measurement, monkeypatch):
    page = visit(query=f"{START}&tab=evidence")
    explaining(page, OPENING)
    tab(page, "How far to believe it").wait_for()
    bring(page, "flower.jpg", "daisy")
    page.locator("#prediction button", has_text="bee").click()
    explaining(page, "bee")
    measured(page)
    page.evaluate("history.replaceState(null, '')")  # as Gradio's description of the API does
    monkeypatch.setattr("camkit.web.tabs.maps.explain_stream", computes)
    monkeypatch.setattr("camkit.web.tabs.evidence.measure", computes)
    for _ in range(2):
        page.reload()
        explaining(page, "bee")
        panel(page, "gradcam", COMPLETE).wait_for()
        page.wait_for_function("document.querySelector('#picture img').naturalWidth === 640")
    tab(page, "How far to believe it").wait_for()
    measured(page)
    page.go_back()
    explaining(page, "daisy")


def test_what_was_left_before_its_last_map_is_computed_on(visit, held_work):
    page = visit(query=START)
    explaining(page, OPENING)
    bring(page, "flower.jpg", "daisy")
    page.locator("#settings button").first.click()
    page.get_by_role("checkbox", name="Score-CAM", exact=True).check()
    panel(page, "scorecam", PARTIAL).wait_for()
    page.reload()
    explaining(page, "daisy")
    panel(page, "gradcam", COMPLETE).wait_for()
    assert panel(page, "scorecam").locator(".wait").inner_text() == "waiting for its turn"  # not stopped


def test_what_was_stopped_stays_stopped(visit, held_work):
    page = visit(query="?methods=gradcam,scorecam")
    panel(page, "scorecam", PARTIAL).wait_for()
    stop(page)
    page.reload()
    panel(page, "scorecam", PARTIAL).locator("small", has_text="partial").wait_for()


def test_a_picture_that_the_server_has_forgotten_is_said_in_a_sentence(visit, monkeypatch):
    page = visit(query=START)
    explaining(page, OPENING)
    bring(page, "flower.jpg", "daisy")
    panel(page, "gradcam", COMPLETE).wait_for()
    for module in ("camkit.web.tabs.maps", "camkit.web.server.sessions"):
        monkeypatch.setattr(f"{module}.MEMORIES", sessions.Memories())
    page.reload()
    page.get_by_text("The server no longer has your picture: choose it again.").wait_for()
    explaining(page, OPENING)
    at(page, example="cat_and_coffee", **{"class": OPENING})
    page.go_back()  # an example is computed again, without a word
    explaining(page, OPENING)
    assert page.get_by_text("The server no longer has your picture").count() <= 1
