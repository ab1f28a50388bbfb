"""The short form of mixed_load.py: some seconds of visitors and clients side by side, in this process."""

import mixed_load


def test_no_answer_is_lost_or_crossed(server_url, monkeypatch, caplog, capfd):
    for name, value in mixed_load.LIMITS.items():
        monkeypatch.setenv(name, value)
    found = mixed_load.Load(server_url, seconds=1, people=4).run()
    assert (found.lost, found.crossed) == ([], [])
    assert {"explain", "open_page", "bring_picture", "measure"} <= set(found.right)
    assert mixed_load.unexpected(caplog.text + capfd.readouterr().err) == []
