"""The tab "Compare two models": when it is there, what its two rows show, and what is refused."""

import uuid
from dataclasses import replace

import plain_http
import pytest
from browsing import COMPLETE, OPENING, PARTIAL, QUICK, explaining, panel
from conftest import EXAMPLES, TINY

import camkit
from camkit.labels import Labels
from camkit.models.registry import MODELS
from camkit.web.tabs.two_models import other_model, same_class

TAB = "Compare two models"
OWN = Labels.of([f"thing {index}" for index in range(998)] + ["Lion", "egyptian cat"])


@pytest.fixture
def tiny_here(monkeypatch):
    """A second model with ImageNet's classes, "tiny", is ready on the server."""
    monkeypatch.setitem(MODELS, "tiny", TINY)


@pytest.mark.browser
def test_two_models_explain_the_class_of_one_name_in_rows_that_line_up(visit, monkeypatch):
    alone = visit(query="?methods=gradcam")
    explaining(alone, OPENING)
    assert alone.get_by_role("tab", name=TAB).count() == 0
    monkeypatch.setitem(MODELS, "tiny", TINY)
    page = visit(query=QUICK)
    panel(page, "scorecam", PARTIAL).locator("small", has_text="partial").wait_for()
    page.get_by_role("tab", name=TAB).click()
    page.locator("#models-go").click()
    page.locator("#models-words .words").wait_for()
    rows = [page.locator(f"#{which}-maps figure") for which in ("first", "second")]
    lefts = [row.evaluate_all("found => found.map(each => each.getBoundingClientRect().left)") for row in rows]
    assert lefts[0] == lefts[1] and len(lefts[0]) == len(camkit.DEFAULT_METHODS)
    assert page.locator(f"#second-maps figure{COMPLETE}").count() == len(
        lefts[1]
    )  # 12 channels, less than the page's 64
    for which, name in (("first", "EfficientNet-Lite0"), ("second", "Tiny")):
        about = page.locator(f"#{which}-about").inner_text()
        assert about.startswith(f"{name}\n") and f"Explaining {OPENING}," in about
        assert page.locator(f"#{which}-about li").count() == 5
    assert page.locator("#first-about li[aria-current]").inner_text().startswith(OPENING)
    said = page.locator("#models-words").inner_text()
    assert said.startswith(f"EfficientNet-Lite0 says {OPENING}, 3") and " and Tiny says " in said and "map" in said
    page.locator("#prediction button", has_text="cup").click()
    page.locator("#second-maps .cam-host.stale").wait_for()


@pytest.fixture
def session(server_url) -> str:
    """A visitor whose page explains lynx, not the top class, by Grad-CAM."""
    session = uuid.uuid4().hex
    settings = [["gradcam"], "efficientnet_lite0", "top_activation", 10, True]
    given = {"file": plain_http.upload(server_url, (EXAMPLES / "cat_and_coffee.jpg").read_bytes())}
    for event, values in (("on_picture", settings), ("on_class", [287, *settings])):
        plain_http.join(server_url, plain_http.event_id(server_url, event), values, session, given).raise_for_status()
        assert plain_http.outcome(server_url, session)["success"]
    return session


def compared(url: str, session: str, model: str | None) -> dict:
    plain_http.join(url, plain_http.event_id(url, "on_compare"), [model], session).raise_for_status()
    return plain_http.outcome(url, session)


def test_models_of_other_classes_explain_their_own_first_guesses(server_url, session, monkeypatch):
    monkeypatch.setitem(MODELS, "own", replace(TINY, key="own", name="Own", labels=lambda: OWN))
    words, *_ = compared(server_url, session, "own")["output"]["data"]
    assert (
        "They have no class of the same name for this, so each explains its own first guess: EfficientNet-Lite0 "
        in (words)
    )
    assert f"{OPENING} and Own thing " in words


def test_what_cannot_be_compared_is_said(server_url, session, tiny_here, monkeypatch):
    said = "Choose another model to compare with: one of Tiny."
    assert plain_http.refusal(compared(server_url, session, "efficientnet_lite0")) == said
    assert plain_http.refusal(compared(server_url, session, "../etc")) == said
    assert other_model(None, "efficientnet_lite0") == "tiny"
    monkeypatch.delitem(MODELS, "tiny")
    assert "a second one is needed" in plain_http.refusal(compared(server_url, session, None))


def test_a_class_is_the_same_by_its_name_not_by_its_number():
    imagenet = camkit.MODELS["vgg16"].labels()
    assert same_class(134, imagenet, imagenet) == 134  # one of two cranes
    assert same_class(291, imagenet, OWN) == 998 and same_class(285, imagenet, OWN) == 999
    assert same_class(0, imagenet, OWN) is None and same_class(998, OWN, imagenet) == 291
