"""Every event of the page that streams answers for its outputs, also when there is nothing to do: Gradio empties all
outputs of a stream that ends without an answer."""

import uuid

import gradio as gr
import plain_http
import pytest
from conftest import EXAMPLES

from camkit.web.server.refusals import with_clear_errors
from camkit.web.tabs.widgets import named

SETTINGS = [["gradcam"], "efficientnet_lite0", "block3b_add", 10, True]


@pytest.fixture(scope="module")
def streams(server_url):
    return [event for event in plain_http.events(server_url) if event["types"]["generator"]]


@pytest.mark.parametrize("known", [False, True], ids=["a visitor without a picture", "a visitor with maps"])
def test_a_stream_with_nothing_to_do_empties_nothing(server_url, streams, short_curves, known):
    assert {"on_picture", "on_class", "on_explanation", "on_zip"} <= {event["api_name"] for event in streams}
    for event in streams:
        if known and not event["inputs"] and event["api_name"] != "on_explanation":
            continue  # it works on the maps, so that it has something to do
        session = uuid.uuid4().hex
        if known:
            path = plain_http.upload(server_url, (EXAMPLES / "flower.jpg").read_bytes())
            plain_http.join(
                server_url, plain_http.event_id(server_url, "on_picture"), SETTINGS, session, {"file": path}
            )
            assert plain_http.outcome(server_url, session)["success"]
        plain_http.join(server_url, event["id"], [None] * len(event["inputs"]), session)
        answer = plain_http.outcome(server_url, session)
        if answer["success"]:
            assert None not in answer["output"]["data"], event["api_name"]
        else:
            plain_http.refusal(answer)


def test_what_a_stream_says_of_a_components_properties_it_says_again():
    def handler():
        yield {"stop": gr.update(visible=True), "words": "some", "choice": gr.update(choices=["a"], value="a")}
        yield {"words": "more", "choice": "b"}
        yield {"stop": gr.update(visible=False)}

    answers = list(named(handler, {"stop": 1, "words": 2, "choice": 3})())
    assert answers[1:] == [{1: gr.update(visible=True), 2: "more", 3: "b"}, {1: gr.update(visible=False)}]


def test_a_stream_that_ends_before_its_first_answer_leaves_the_outputs_as_they_are():
    @with_clear_errors
    def nothing_to_do(wanted):
        if wanted:
            yield wanted

    assert list(nothing_to_do(None)) == [{"__type__": "update"}]
    assert list(nothing_to_do("a map")) == ["a map"]
