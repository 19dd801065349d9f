"""The settings of a language model: mistakes are named, and no secret can stand in them."""

import pytest
from lookups.llm_settings import LlmSettings
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modle": "tiny"}, "modle"),
        ({"base_url": "localhost:8000/v1"}, "write a whole address such as"),
        ({"base_url": "http://me:secret@host/v1"}, "a key belongs in the environment"),
        ({"base_url": "http://host/v1?key=secret"}, "a key belongs in the environment"),
        ({"key_variable": "sk-secret"}, "key_variable"),
        ({"seed": True}, "neither true nor false"),
        ({"price_in": 1.0}, "give price_in and price_out, or neither"),
        ({"extra": {"stream": True}}, "stream cannot stand in extra"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_settings_say_what_is_wrong_with_them(changes, words):
    with pytest.raises(ValidationError, match=words):
        LlmSettings(**{"model": "tiny"} | changes)


@pytest.mark.parametrize(
    ("base_url", "local", "loopback"),
    [
        (None, False, False),
        ("http://localhost:11434/v1", True, True),
        ("http://127.0.0.1:8000/v1", True, True),
        ("http://[::1]:8000/v1", True, True),
        ("http://192.168.1.20:8000/v1", True, False),
        ("http://vllm:8000/v1", True, False),
        ("https://api.example.com/v1", False, False),
        ("https://8.8.8.8/v1", False, False),
    ],
)
def test_servers_nearby_may_want_no_key(base_url, local, loopback):
    made = LlmSettings(model="tiny", base_url=base_url)
    assert (made.local, made.loopback) == (local, loopback)
