"""What the gatekeeper reads of Gradio's answers, which Gradio does not document: it notices when that changes."""

import gradio as gr
import httpx
import plain_http
from conftest import EXAMPLES

from camkit.web.server.gatekeeper import ANSWERED, STREAM_ENDS


def test_the_stream_says_in_these_words_that_an_event_is_answered_and_that_it_ends(server_url):
    path = plain_http.upload(server_url, (EXAMPLES / "coffee.jpg").read_bytes())
    data = [{"path": path, "meta": plain_http.META}, "auto", 1]
    joined = plain_http.join(server_url, plain_http.event_id(server_url, "classify"), data, "words")
    event = joined.json()["event_id"]
    stream = httpx.get(f"{server_url}/gradio_api/queue/data", params={"session_hash": "words"}, timeout=60).content
    parts = [part for part in stream.split(b"\n\n") if part]
    answered = [match[1].decode() for part in parts if (match := ANSWERED.match(part))]
    assert answered == [event]
    assert parts[-1].startswith(STREAM_ENDS) and not parts[-2].startswith(STREAM_ENDS)

    asked = httpx.post(f"{server_url}/gradio_api/call/classify", json={"data": data}).json()["event_id"]
    answer = httpx.get(f"{server_url}/gradio_api/call/classify/{asked}", timeout=60).content
    assert answer.startswith(STREAM_ENDS)


def test_the_configuration_names_each_events_inputs_and_their_types():
    with gr.Blocks() as page:
        gr.Button().click(lambda image: None, gr.Image(label="image"), api_name="named")
    config = page.get_config_file()
    (event,) = config["dependencies"]
    types = {component["id"]: component["type"] for component in config["components"]}
    assert (event["id"], event["api_name"], [types[number] for number in event["inputs"]]) == (0, "named", ["image"])
    (parameter,) = page.get_api_info()["named_endpoints"]["/named"]["parameters"]
    assert (parameter["parameter_name"], parameter["component"]) == ("image", "Image")
