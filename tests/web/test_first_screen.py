"""What a visitor sees in the first ten seconds, measured: where the maps lie, what a link brings back, how a better
model is fetched, and who can use the page: axe, the keyboard, a screen reader."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import pytest
from browsing import COMPLETE, OPENING, PARTIAL, PATIENCE, QUICK, explaining, painter, panel, stop
from conftest import EXAMPLES

import camkit
from camkit import load
from camkit.evidence.randomise import STAGES, copy_of
from camkit.models.weights import WeightsFile
from camkit.web.tabs.headline import WAITING

pytestmark = pytest.mark.browser
WIDTHS = (320, 360, 390, 480, 600, 700, 768, 820, 1024, 1100, 1280, 1440)
TABS = ("Cover and see", "How far to believe it", "Why A and not B?", "Many pictures", "About")


def box(page, selector: str) -> dict:
    """Left, top, right and bottom of an element on the page, in pixels."""
    found = page.locator(selector).first.bounding_box()
    assert found, selector
    return {
        "left": found["x"],
        "top": found["y"],
        "right": found["x"] + found["width"],
        "bottom": found["y"] + found["height"],
    }


def maps(page) -> list[dict]:
    return [box(page, f"#maps figure[data-key={key}]") for key in camkit.DEFAULT_METHODS]


def measured(page) -> None:
    """Waits in their tab until the maps of the page are measured."""
    open_tab(page, "How far to believe it")
    page.locator("#evidence .words").wait_for(timeout=2 * PATIENCE)


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


# --- where everything lies -----------------------------------------------------------------------------------------


def test_a_wide_screen_shows_a_sure_picture_its_maps_and_the_evidence(visit, short_measurement):
    page = visit(1440, 900, query=f"{QUICK}&tab=evidence")
    panel(page, "scorecam", PARTIAL).locator("small", has_text="partial").wait_for()
    name, share = page.locator("#prediction button[aria-pressed=true] span").all_inner_texts()
    assert name == OPENING and float(share.rstrip("%")) > 30
    assert "cup" in page.locator("#prediction").inner_text()  # the other thing in the picture, one click away
    measured(page)
    assert len({each["top"] for each in maps(page)}) == 1  # one row
    assert max(each["bottom"] for each in maps(page)) < 675
    for selector in ("#picture", "#prediction", "#examples", "#evidence tbody tr:nth-child(2)"):
        assert box(page, selector)["bottom"] <= 900, selector
    assert_the_table_is_whole(page)
    assert_nothing_scrolls_sideways(page)


def assert_the_table_is_whole(page) -> None:
    """Where it is wider than the page, it scrolls beside its first column."""
    frame = page.locator("#evidence .scroll")
    for width in (1440, 820):
        page.set_viewport_size({"width": width, "height": 900})
        assert frame.evaluate("frame => frame.scrollWidth <= frame.clientWidth"), width
    page.set_viewport_size({"width": 390, "height": 844})
    assert frame.evaluate("frame => frame.scrollWidth > frame.clientWidth")
    before = box(page, "#evidence tbody th")["left"], box(page, "#evidence tbody td")["left"]
    frame.evaluate("frame => { frame.scrollLeft = 100; }")
    after = box(page, "#evidence tbody th")["left"], box(page, "#evidence tbody td")["left"]
    assert (after[0], after[1]) == (before[0], before[1] - 100)


def test_a_tablet_shows_all_maps_on_its_first_screen(visit):
    page = visit(820, 1180, query="?example=astronaut&full=no")  # a square picture is the tallest of the examples
    panel(page, "scorecam", PARTIAL).locator("small", has_text="partial").wait_for()
    assert max(each["bottom"] for each in maps(page)) <= 1180


def test_a_phone_shows_maps_two_a_row_on_its_first_screen(visit):
    page = visit(390, 844, query=QUICK)
    panel(page, "faster_scorecam", COMPLETE).wait_for()
    first, second, third, _ = maps(page)
    assert first["top"] < 440
    assert first["top"] == second["top"] < third["top"] and first["right"] < second["left"]
    picture, buttons = box(page, "#picture .frame"), box(page, "#picture .own")
    assert picture["bottom"] - picture["top"] <= 110 and picture["right"] <= buttons["left"] + 1
    strip = page.locator(".cam-examples")
    assert strip.evaluate("strip => strip.scrollWidth > strip.clientWidth")
    boxes = strip.locator("button").evaluate_all(
        "buttons => buttons.map(each => { const box = each.getBoundingClientRect(); return [box.top, box.right]; })"
    )
    assert len({top for top, _ in boxes}) == 1
    assert abs(boxes[2][1] - box(page, ".cam-examples")["right"]) <= 4  # the third is whole, the fourth out of sight


# Everything that a finger may meet, but what stands in a sentence and Gradio's field of a list, whose frame opens it.
SMALL = """() => {
  const exempt = "label > input, .secondary-wrap *, .prose *, footer *, [aria-hidden] *";
  const found = [], sought = "button, a[href], input, select, [role=tab], label:has(> input)";
  const within = (root) => root.querySelectorAll("*").forEach((each) => {
    if (each.shadowRoot) within(each.shadowRoot);
    const { width, height } = each.getBoundingClientRect(), style = getComputedStyle(each);
    const seen = width > 1 && height > 1 && style.visibility !== "hidden" && style.opacity !== "0";
    if (!seen || !each.matches(sought) || each.matches(exempt)) return;
    if (width < 40 || height < 40) found.push(`${each.outerHTML.slice(0, 120)}: ${width} x ${height}`);
  });
  within(document);
  return found;
}"""


def test_a_phone_reaches_every_tab_and_reads_a_map_by_a_tap(browser, server_url, short_measurement):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{server_url}/?methods=gradcam,gradcam_plus_plus")
    panel(page, "gradcam_plus_plus", COMPLETE).wait_for()
    panel(page, "gradcam").locator("canvas").tap()
    values = page.locator("#maps .probe:visible").all_inner_texts()
    assert len(values) == 2 and all(0 <= float(value) <= 1 for value in values)
    page.locator("h1").tap()
    assert page.locator("#maps .probe:visible").count() == 0
    measured(page)
    hint = page.locator("#evidence .scroll")
    said = "frame => parseFloat(getComputedStyle(frame, '::before').height)"
    assert hint.evaluate(said) > 0
    hint.evaluate("frame => { frame.scrollLeft = frame.scrollWidth; }")
    page.locator("#settings button").first.tap()
    for name in TABS:
        page.get_by_role("tab", name=name).tap()
        page.get_by_role("tab", name=name, selected=True).wait_for()
        assert not (small := page.evaluate(SMALL)), small
    context.close()


def test_a_phone_shows_the_bars_while_a_finger_paints(browser, server_url):
    context = browser.new_context(viewport={"width": 390, "height": 664}, has_touch=True, is_mobile=True)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{server_url}/{QUICK}")
    panel(page, "faster_scorecam", COMPLETE).wait_for()
    page.get_by_role("tab", name="Cover and see", selected=True).wait_for()  # it is open at first
    page.locator("#painter .hot button").first.tap()
    page.locator("#cover figure li").nth(9).wait_for()
    page.evaluate("document.querySelector('#painter').scrollIntoView()")
    assert box(page, "#painter canvas")["top"] >= 0
    assert page.locator("#cover figure ol").evaluate_all(
        "lists => lists.every(each => each.getBoundingClientRect().bottom <= innerHeight)"
    )
    context.close()


OTHERS = [(f"&example={key}", "#painter .hot button") for key in ("rocket", "astronaut")]  # of other shapes
# What has moved since the page was opened without anybody having asked for it: web.dev calls 0.1 in all good.
SHIFTS = """() => new Promise((then) => {
  new PerformanceObserver((list) => {
    let total = 0;
    for (const shift of list.getEntries()) if (!shift.hadRecentInput) total += shift.value;
    then(total);
  }).observe({ type: "layout-shift", buffered: true });
})"""


@pytest.mark.parametrize("width, height", [(1440, 900), (820, 1180), (390, 844)])
@pytest.mark.parametrize(
    "link, last", [("&tab=cover", "#painter .hot button"), ("&tab=evidence", "#evidence .words"), *OTHERS]
)
def test_nothing_moves_while_the_page_opens(visit, short_measurement, width, height, link, last):
    page = visit(width, height, query=f"{QUICK}{link}")
    panel(page, "scorecam", PARTIAL).locator("small", has_text="partial").wait_for()
    page.locator(last).first.wait_for()
    assert 0 < page.evaluate(SHIFTS) < 0.1  # Gradio's own sign that it loads moves, so that it is never nothing


def assert_nothing_scrolls_sideways(page) -> None:
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function(f"innerWidth === {width}")
        wide = page.evaluate(
            "new Promise(then => requestAnimationFrame(() => then(document.scrollingElement.scrollWidth)))"
        )
        assert wide <= width, f"{wide} pixels at a width of {width}"


# --- a link to what one sees ---------------------------------------------------------------------------------------


def test_a_link_reproduces_the_page(visit):
    page = visit(query="?example=coffee&class=cup&methods=gradcam,faster_scorecam&layer=block6d_add&max_n=3")
    explaining(page, "cup")
    panel(page, "faster_scorecam", COMPLETE).locator(".facts", has_text="4 forward passes").wait_for()
    assert page.locator("#maps figure").count() == 2
    page.locator("#settings button").first.click()
    assert page.locator("#layer").get_by_label("block6d_add").is_checked()
    assert page.get_by_role("checkbox", name="Score-CAM", exact=True).is_checked() is False
    assert page.locator("#max-n input[type=number]").input_value() == "3"
    page.locator("#prediction button", has_text="espresso").first.click()
    explaining(page, "espresso")
    page.wait_for_function("location.search.includes('class=espresso')")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#link").click()
    page.get_by_text("Link copied: it opens on what you see.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    query = copied[copied.index("?") :]
    other = visit(query=query)
    explaining(other, "espresso")
    panel(other, "faster_scorecam", COMPLETE).locator(".facts", has_text="4 forward passes").wait_for()
    other.wait_for_function("query => location.search === query", arg=query)


def test_a_link_does_not_carry_a_visitors_own_picture_and_says_so(visit):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    page.locator("#picture input[type=file]").set_input_files(EXAMPLES / "flower.jpg")
    explaining(page, "daisy")
    page.wait_for_function("!location.search.includes('example') && !location.search.includes('class')")
    page.locator("#link").click()
    page.get_by_text("it carries your settings, not your own picture").wait_for()


def test_what_a_link_names_wrongly_is_answered_in_a_sentence_and_never_shown(visit, held_work):
    attack = "<img src=x onerror=alert(1)>![p](//host/p.gif)"
    page = visit(
        query=f"?example={attack}&class={attack}&methods=gradcam,{attack}&layer={attack}&max_n=x&model=vgg16&full=1"
    )
    sentence = (
        "The link's example, model, class, layer, methods, number of channels and length of Score-CAM cannot be used "
        "here: the page's own stands in its place."
    )
    page.get_by_text(sentence).wait_for()
    explaining(page, OPENING)
    panel(page, "gradcam", COMPLETE).wait_for()
    assert "onerror" not in page.locator("body").inner_html()


# --- a better model ------------------------------------------------------------------------------------------------

BODY = bytes(range(256)) * 4 * 4096  # 4 MiB


@contextmanager
def slow_site(go_on: threading.Event):
    """An address that sends half of BODY, and the rest once `go_on` is set; and what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY[: len(BODY) // 2])
            if go_on.wait(PATIENCE / 1000):
                self.wfile.write(BODY[len(BODY) // 2 :])

        def log_message(self, *args):
            pass

    class Site(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            """A client that goes away is what cancelling is."""

    with Site(("127.0.0.1", 0), Handler) as site:
        thread = threading.Thread(target=partial(site.serve_forever, poll_interval=0.01))
        thread.start()
        yield f"http://127.0.0.1:{site.server_address[1]}/weights.h5", asked
        site.shutdown()
        thread.join()


@pytest.fixture
def absent_vgg16(monkeypatch, tmp_path):
    """Makes VGG16 one whose weights of 4 MiB are to be had at an address."""
    import hashlib

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("camkit.models.weights.TIMEOUTS", (10, 2 * PATIENCE / 1000))  # the site waits for the pages

    def at(url: str) -> WeightsFile:
        weights = WeightsFile(
            "VGG16", "weights.h5", url, hashlib.md5(BODY).hexdigest(), len(BODY), "CAMKIT_VGG16_WEIGHTS", "NO_REPO"
        )
        monkeypatch.setitem(camkit.MODELS, "vgg16", replace(camkit.MODELS["vgg16"], weights=weights))
        return weights

    return at


GET = "Get VGG16 the network of the tutorial and the papers; the server fetches 4 MB once"


def test_two_visitors_share_one_download_and_the_last_to_withdraw_ends_it(visit, absent_vgg16, tmp_path):
    go_on = threading.Event()
    with slow_site(go_on) as (url, asked):
        weights = absent_vgg16(url)
        first, second = visit(query="?methods=gradcam"), visit(query="?methods=gradcam")
        for page in (first, second):
            explaining(page, OPENING)
        for page in (first, second):
            page.get_by_role("button", name=GET).click()
        for page in (first, second):
            page.locator(".headline .fetch", has_text="Downloading VGG16: 2 of 4 MB").wait_for()
            assert page.locator(".headline progress").get_attribute("value") == "0.5"
            assert not page.locator("#get").is_visible()
        assert len(asked) == 1
        first.get_by_role("button", name="Cancel").click()
        first.get_by_text("Others wait for this download too, so it goes on").wait_for()
        assert box(first, ".toast-wrap")["top"] > box(first, "#top")["bottom"]  # and covers none of the buttons
        assert weights.state.status == "downloading" and "Stopping" not in weights.state.short
        second.get_by_role("button", name="Cancel").click()
        second.locator(".headline .fetch", has_text="Stopping the download of VGG16's weights").wait_for()
        go_on.set()
        for page in (first, second):
            page.get_by_role("button", name=GET).wait_for()
        assert weights.state.status == "absent"
        assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"] == []
        first.get_by_role("button", name=GET).click()
        first.get_by_role("button", name="Use VGG16").wait_for()
        assert not first.locator("#get").is_visible() and len(asked) == 2
    assert not WAITING.waits("vgg16", "nobody")


def test_without_a_network_the_reason_stands_where_the_button_was(visit, absent_vgg16):
    with slow_site(threading.Event()) as (url, _):
        pass  # nobody listens there any more
    absent_vgg16(url)
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    page.get_by_role("button", name=GET).click()
    reason = page.locator(".headline .fetch", has_text="VGG16 could not be downloaded: the connection to 127.0.0.1:")
    reason.wait_for()
    assert reason.inner_text().endswith(" failed.") and "CAMKIT" not in reason.inner_text()
    page.get_by_role("button", name=f"Try again: get VGG16{GET[9:]}").wait_for()
    other = visit(query="?methods=gradcam")  # who did not ask for it is not told
    explaining(other, OPENING)
    other.get_by_role("button", name=GET).wait_for()
    assert other.locator(".headline .fetch").is_hidden()


# --- who can use it ------------------------------------------------------------------------------------------------

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# The rules about colours that are on by default: another theme changes nothing else.
OF_COLOURS = ["color-contrast", "link-in-text-block"]


def findings(page, options: dict) -> list[str]:
    """What axe-core finds on the page as it is, shadow roots included: "rule: selector"."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate("options => axe.run(document, options)", {"resultTypes": ["violations"], **options})[
        "violations"
    ]
    return [f"{rule['id']}: {json.dumps(node['target'])}" for rule in found for node in rule["nodes"]]


# An animation that follows a scroll position never finishes, and moves nothing here.
SETTLED = """Promise.all(document.getAnimations().filter((each) => each.timeline === document.timeline)
  .map((each) => each.finished.catch(() => {})))"""


def test_axe_finds_nothing_of_ours_in_any_tab_light_or_dark(visit, short_measurement):
    page = visit(1440, 900, query="?methods=gradcam")
    measured(page)
    page.locator("#curves .js-plotly-plot").wait_for()
    page.locator("#cost .js-plotly-plot").wait_for()
    page.locator("#settings button").first.click()
    page.add_style_tag(content="* { transition: none !important; }")  # another theme has its colours at once
    found = {}
    for name in TABS:
        open_tab(page, name)
        page.get_by_role("tab", name=name, selected=True).first.wait_for()
        if name == "Cover and see":
            painter(page).press("Space")
            page.locator("#cover table").first.wait_for()
        for scheme, options in (("light", {}), ("dark", {"runOnly": OF_COLOURS})):
            page.evaluate("dark => document.body.classList.toggle('dark', dark)", scheme == "dark")
            page.evaluate(SETTLED)
            found[name, scheme] = findings(page, options)
    wrong = {where: what for where, what in found.items() if what}
    assert not wrong, json.dumps([f"{where}: {what}" for where, what in wrong.items()], indent=1)


LISTEN = """
window.heard = [];
const attach = Element.prototype.attachShadow;
const listen = (root) => new MutationObserver((changes) => changes.forEach((change) => {
  const target = change.target.nodeType === 1 ? change.target : change.target.parentElement;
  const place = target?.closest("[role=status], [aria-live=polite]");
  if (place && place.textContent.trim()) window.heard.push(place.textContent.trim());
})).observe(root, { subtree: true, childList: true, characterData: true });
Element.prototype.attachShadow = function (options) {
  const root = attach.call(this, options);
  listen(root);
  return root;
};
document.addEventListener("DOMContentLoaded", () => listen(document.body));
"""


def test_a_screen_reader_hears_a_few_sentences_of_a_run(browser, server_url, held_work):
    context = browser.new_context()
    context.add_init_script(LISTEN)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server_url)
    panel(page, "scorecam", PARTIAL).locator(".facts", has_text="left").wait_for()
    refined = "Grad-CAM, Grad-CAM++, Faster Score-CAM complete; being refined: Score-CAM."
    page.wait_for_function("(words) => heard.includes(words)", arg=refined)
    stop(page)
    page.wait_for_function("(rest) => heard.some((text) => text.includes(rest))", arg="is partial")
    heard = page.evaluate("heard")
    context.close()
    assert f"Computing what speaks for {OPENING}." in heard
    assert heard[-1] == "Stopped: Score-CAM is partial."
    assert len(heard) <= 5, heard


def tab_to(page, canvas) -> None:
    """Presses Tab until the canvas has the focus, which is soon."""
    for _ in range(4):
        page.keyboard.press("Tab")
        if canvas.evaluate("canvas => canvas.getRootNode().activeElement === canvas"):
            return
    raise AssertionError("four tabs do not reach the canvas")


def test_the_probe_is_read_by_keys_and_its_focus_is_seen(visit):
    page = visit(query="?methods=gradcam,gradcam_plus_plus")
    panel(page, "gradcam_plus_plus", COMPLETE).wait_for()
    canvas = panel(page, "gradcam").locator("canvas")
    page.locator("#class-box input").focus()
    tab_to(page, canvas)
    assert canvas.evaluate("canvas => getComputedStyle(canvas).outlineStyle") == "solid"
    for key in ("ArrowLeft", "Shift+ArrowUp"):
        page.keyboard.press(key)
    value = panel(page, "gradcam").locator(".probe").inner_text()
    assert 0 <= float(value) <= 1
    other = panel(page, "gradcam_plus_plus").locator(".probe").inner_text()
    read = page.locator("#maps .read").inner_text()
    assert read == f"48 % across, 40 % down: Grad-CAM {value}, Grad-CAM++ {other}"
    page.keyboard.press("Escape")
    assert page.locator("#maps .probe:visible").count() == 0


def test_the_painter_is_used_by_keys_alone(visit):
    page = visit(query="?methods=gradcam")
    panel(page, "gradcam", COMPLETE).wait_for()
    open_tab(page, "Cover and see")
    canvas = painter(page)
    page.get_by_role("tab", name="About").first.focus()
    tab_to(page, canvas)
    assert canvas.evaluate("canvas => getComputedStyle(canvas).outlineStyle") == "solid"
    for key in ("ArrowLeft", "ArrowUp", "Space"):
        page.keyboard.press(key)
    page.locator("#cover .words", has_text=f"{OPENING} goes from").wait_for()


def test_the_focus_stays_on_the_class_that_was_chosen(visit):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    page.locator("#prediction button", has_text="cup").focus()
    page.keyboard.press("Enter")
    explaining(page, "cup")
    page.wait_for_function("document.activeElement?.getAttribute('aria-pressed') === 'true'")
    assert page.evaluate("document.activeElement.textContent").startswith("cup")


# --- long work says how far it is ----------------------------------------------------------------------------------


def test_measuring_and_the_sweep_say_how_far_they_are_and_can_be_stopped(visit, held_work):
    page = visit(query="?methods=gradcam&tab=evidence")
    page.locator("#measure-far", has_text="press Measure").wait_for()
    page.locator("#measure").click()
    page.locator("#measure-far", has_text="left").wait_for()
    page.locator("#measure-stop").click()
    page.locator("#measure-far", has_text="Stopped.").wait_for()
    assert not page.locator("#measure-stop").is_visible()
    page.locator("#sweep-go").click()
    page.locator("#sweep-far", has_text="channels, about").wait_for()
    assert 0 < float(page.locator("#sweep-far progress").get_attribute("value")) < 1
    page.locator("#sweep-stop").click()
    page.locator("#sweep-far", has_text="Stopped after").wait_for()
    page.locator("#sweep-stop").wait_for(state="hidden")


# Keeps which tables were ever marked as out of date: one of them may be measured anew before anybody looks.
MARKS = """() => {
  window.marked = new Set();
  const look = (id) => document.querySelector(`#${id} .stale`) && marked.add(id);
  const keep = () => ["evidence", "likeness"].forEach(look);
  new MutationObserver(keep).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["class"] });
}"""


def test_the_sanity_check_can_be_stopped_and_what_was_found_of_other_maps_is_marked(visit, short_measurement):
    page = visit(query="?methods=gradcam")
    measured(page)
    with copy_of(load("efficientnet_lite0")).in_use:  # as if somebody else's check had the copy
        page.locator("#sanity-go").click()
        page.locator("#sanity-far", has_text="Waiting for another check").wait_for()
        page.locator("#sanity-stop").click()
        page.locator("#sanity-far", has_text="Stopped").wait_for()
        page.locator("#sanity-stop").wait_for(state="hidden")
    assert page.locator("#likeness tr").count() == 0
    page.locator("#sanity-go").click()
    words = page.locator("#likeness .words", has_text="Grad-CAM's map depends on what the network learned.")
    words.wait_for()
    assert page.locator("#likeness tbody tr").count() == STAGES + 1
    page.locator("#sanity .js-plotly-plot").wait_for()
    strip = page.locator("#strips figure")
    assert strip.locator("img").get_attribute("alt").startswith("Grad-CAM by the trained network")
    layers = page.locator("#likeness tbody th").all_inner_texts()[:STAGES]
    assert strip.locator("li").all_inner_texts()[0] == "trained" and strip.locator("li").count() == 1 + STAGES
    for layer, label in zip(layers, strip.locator("li").all_inner_texts()[1:], strict=True):
        assert label.split("\n")[0] == layer.partition(": ")[2]
    wide, high = strip.locator("img").evaluate("(image) => [image.naturalWidth, image.naturalHeight]")
    assert (wide, high) == (132 * (1 + STAGES), 66)  # the picture is twice as wide as high
    page.evaluate(MARKS)
    page.locator("#prediction button", has_text="cup").click()
    page.wait_for_function("marked.size === 2")
    page.locator("#evidence .measured:not(.stale) .words").wait_for()
    page.locator("#likeness .stale").wait_for()
