"""What a reply is read as: a clear yes, a clear no, an explanation, or nothing."""

import pytest
from lookups.explain.answers import explanation_of, probability_of_yes, verdict_of, yes_or_no
from lookups.explain.explainer import Verdict
from lookups.explain.replies import Reply


@pytest.mark.parametrize(
    "text",
    [
        "Yes",
        "yes",
        "Yes.",
        "YES!",
        " yes\n",
        "**Yes**",
        "_Yes_",
        '"Yes"',
        "Yes, because it says so",
        "Yes because it says so",
        "Yes — it does",
        "Yes\n\nThe prompt",
        "Yes: it does",
        "Yes (sure)",
    ],
)
def test_a_clear_yes(text):
    assert yes_or_no(text) is True


@pytest.mark.parametrize(
    "text",
    ["No", "no.", "**No**", "No, it is not.", "NO", "No because", "No - it does not", "'No'"],
)
def test_a_clear_no(text):
    assert yes_or_no(text) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Yes and no",
        "No and yes",
        "Yes/No",
        "Yes or No?",
        "yes, and no",
        "Yes but also no",
        "Not sure",
        "Nothing of the kind",
        "Notably, it is",
        "None",
        "Now",
        "Yesterday",
        "Yesss",
        "No idea",
        "No one can tell",
        "No-one can tell",
        "Maybe",
        "I'm sorry, I can't help with that",
        "The answer is yes",
        "Y",
        "N",
        "...",
        "Nope",
    ],
)
def test_all_else_is_unread(text):
    assert yes_or_no(text) is None


def test_a_tie_is_unread_and_a_refusal_is_too():
    tie = verdict_of(Reply("Yes", first={"Yes": -1.0, "No": -1.0}))
    assert tie == Verdict(None, 0.5)
    assert verdict_of(Reply("Yes", refusal="I would rather not")) == Verdict(None)
    assert probability_of_yes({}) is None


def test_what_was_thought_aloud_is_not_read():
    assert yes_or_no("<think>No") is None
    assert verdict_of(Reply("<think>No, or…</think>\n\nYes")) == Verdict(True)
    assert explanation_of(Reply("<think>Let me see")) == ""


def test_an_explanation_may_begin_with_the_letters_of_a_refusal():
    for text in ("In lists.", "It is active after a sorry excuse.", "As an adverb follows."):
        assert explanation_of(Reply(text)) == text
