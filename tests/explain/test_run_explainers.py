"""Which explainers a run asks, and that nothing is sent without consent."""

import pytest
from lookups.errors import NotConfirmed, ServerError
from lookups.explain.explainer import Case, Example
from lookups.explain.run_explainers import CONSENT, run_explainers
from lookups.settings import read_run

CASE = Case(
    (Example("c/train/0", (1,), " if", " a"),), (Example("c/train/1", (2,), " we", " a"),), " a"
)


@pytest.fixture
def with_server(tmp_path, monkeypatch):
    monkeypatch.delenv(CONSENT, raising=False)
    settings = read_run("planted")
    llm = {"model": "small", "base_url": "http://127.0.0.1:9/v1", "retries": 0, "timeout": 1}
    content = settings.model_dump() | {"llm": llm, "paths": {"data": tmp_path / "data"}}
    return type(settings)(**content)


def test_the_default_explainers_need_no_network():
    assert list(run_explainers(read_run("planted"))) == ["contrast", "bag-of-words", "nearest"]


def test_a_run_with_a_language_model_asks_it_after_contrast(with_server):
    assert list(run_explainers(with_server))[:2] == ["contrast", "llm"]


def test_nothing_is_sent_without_consent(with_server, monkeypatch):
    with pytest.raises(NotConfirmed, match=r"1 requests to send.*--yes"):
        run_explainers(with_server)["llm"].explain(CASE)
    monkeypatch.setenv(CONSENT, "yes")
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9"):  # now it tries: nobody listens there
        run_explainers(with_server)["llm"].explain(CASE)


def test_replies_lie_with_the_data_where_clean_does_not_reach(with_server, tmp_path):
    assert run_explainers(with_server)["llm"].store == tmp_path / "data" / "replies.sqlite"
