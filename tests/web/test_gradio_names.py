"""Names of Gradio that are not in its documentation and that the page stands on: each is there and does what it did."""

import inspect
from pathlib import Path

import gradio as gr
import pytest


def test_the_upload_folder_is_where_files_are_served_from(monkeypatch, tmp_path):
    from gradio.utils import get_upload_folder

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert Path(get_upload_folder()) == tmp_path
    assert str(tmp_path) == gr.File().GRADIO_CACHE


@pytest.mark.parametrize(("text", "is_address"), [("http://a/b.png", True), ("https://a", True), ("/tmp/a.png", False)])
def test_addresses_are_told_from_paths(text, is_address):
    from gradio_client.utils import is_http_url_like

    assert is_http_url_like(text) is is_address


def test_a_path_that_may_not_be_read_has_an_error_of_its_own():
    from gradio.exceptions import InvalidPathError

    assert issubclass(InvalidPathError, Exception)


@pytest.mark.parametrize("component", [gr.Image, gr.File])
def test_a_payload_is_moved_by_this_method_before_it_is_preprocessed(component):
    method = component.async_move_resource_to_block_cache
    assert inspect.iscoroutinefunction(method)
    assert list(inspect.signature(method).parameters) == ["self", "url_or_file_path"]


def test_payloads_are_preprocessed_by_this_method_of_blocks():
    method = gr.Blocks.preprocess_data
    assert inspect.iscoroutinefunction(method)
    assert list(inspect.signature(method).parameters)[:3] == ["self", "block_fn", "inputs"]


def test_the_queue_knows_its_unfinished_events_and_who_asked():
    from gradio.queueing import Event, EventQueue, Queue

    known = inspect.getsource(Queue)
    assert "self.event_ids_to_events.pop(event._id, None)" in known  # so that it does not mind those that are gone
    assert "self.active_jobs[self.active_jobs.index(None)] = events" in known
    assert EventQueue("any", None).queue == []
    assert {"request", "fn"} <= set(inspect.signature(Event).parameters)
    with gr.Blocks() as blocks:
        gr.Button().click(lambda: None, api_name="named")
    assert [each.api_name for each in blocks.fns.values()] == ["named"]
    assert blocks._queue.event_ids_to_events == blocks._queue.event_queue_per_concurrency_id == {}
    assert blocks._queue.active_jobs == []
    assert blocks._queue.pending_event_ids_session == blocks._queue.pending_messages_per_session == {}
    # Both are made for a session that is not among the one or the other, so that neither is missed.
    assert known.count("if body.session_hash not in self.pending_messages_per_session") == 1
    assert known.count("if body.session_hash not in self.pending_event_ids_session") == 1


def test_files_are_known_to_gradio_by_these_sets_which_tidying_empties(tmp_path, monkeypatch):
    from gradio.route_utils import delete_files_created_by_app

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (picture := tmp_path / "picture.png").touch()
    with gr.Blocks() as blocks:
        image = gr.Image()
    image.move_resource_to_block_cache(str(picture))
    assert [names for names in blocks.temp_file_sets if names] == [{str(picture)}]
    assert blocks.upload_file_set is blocks.temp_file_sets[0]
    for names in blocks.temp_file_sets:
        names.clear()
    delete_files_created_by_app(blocks, age=None)
    assert picture.exists()  # nothing else of Gradio's holds them


def test_stub_files_are_written_by_this_function():
    """Which is ours. That none is opened is looked at where the app is imported, in test_architecture.py."""
    from gradio import blocks_events, component_meta

    import camkit.web

    for module in (blocks_events, component_meta):
        assert "create_or_modify_pyi(" in inspect.getsource(module).replace("def create_or_modify_pyi(", "")
        assert module.create_or_modify_pyi.__module__ == camkit.web.__name__
    assert inspect.getfile.__module__ == "inspect"


def test_a_component_says_by_which_of_the_browsers_it_is_drawn():
    from camkit.web import api
    from camkit.web.server import uploads

    assert gr.Dropdown().get_block_name() == "dropdown"
    made = [api.OneOf(["a"], label="model"), api.Several(["a"], label="methods"), api.Value(1, label="max_n")]
    made += [
        api.Switch(False, label="faithfulness"),
        api.Text("", label="class_name"),
        uploads.Picture(),
        uploads.Zip(),
    ]
    names = [component.get_block_name() for component in made]
    assert names == ["dropdown", "checkboxgroup", "number", "checkbox", "textbox", "image", "file"]
    assert api.DocumentedPicture(label="image").get_block_name() == "image"
