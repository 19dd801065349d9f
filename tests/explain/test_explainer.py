"""A neuron's prompts with what a head does on each: joined by key, what is known left out."""

import pandas as pd
import pytest
from inline import defined_in
from lookups.errors import LookupsError
from lookups.explain import explainer
from lookups.explain.explainer import Explanation, PairPrompts, Question, check_apart, follow_share

WORDS = ["", " if", " they", " who", " we", " are"]


@pytest.fixture
def prompts() -> PairPrompts:
    suffixes = pd.DataFrame(
        [
            ("L1.N0", "train", "c/train/0", [1, 2], 1.0, False),
            ("L1.N0", "train", "c/train/1", [3, 2], 3.0, False),
            ("L1.N0", "test", "c/test/0", [4, 2], 2.0, False),
            ("L1.N0", "test", "c/test/1", [1, 2], 1.0, True),
            ("L1.N7", "train", "c/train/0", [4], 1.0, False),
        ],
        columns=["neuron", "split", "prompt", "token_ids", "activation", "also_in_train"],
    )
    suffixes["next_token_id"] = [5, 1, 5, 5, -1]
    heads = suffixes[["neuron", "split", "prompt"]].assign(head="L0.H1", input="in", effect=0.0)
    heads["attribution"] = [0.5, 0.1, 0.2, 0.3, 0.9]
    heads["active"] = [True, False, False, True, True]
    other = heads.assign(head="L0.H2", active=False)
    gate = heads.assign(input="gate", attribution=9.0)
    tokens = {"L1.N0": " are", "L1.N7": " the"}
    told = {"decode": lambda ids: "".join(WORDS[i] for i in ids), "vocabulary": WORDS}
    return PairPrompts(suffixes, pd.concat([heads, other, gate]), tokens=tokens, **told)


def test_rows_of_a_pair_are_its_own_strongest_first_without_what_reads_like_one_of_train(prompts):
    rows = prompts.rows("L1.N0", "L0.H1")
    assert rows.prompt.tolist() == ["c/train/1", "c/test/0", "c/train/0"]
    assert rows.attribution.tolist() == [0.1, 0.2, 0.5]
    assert rows.text.tolist() == [" who they", " we they", " if they"]
    assert set(rows.token) == {" are"}
    assert prompts.rows("L1.N0", "L0.H1", "test").prompt.tolist() == ["c/test/0"]
    assert prompts.left_out.to_dict() == {"L1.N0": 1, "L1.N7": 0}
    case = prompts.case("L1.N0", "L0.H1")
    assert [one.text for one in case.active] == [" if they"]
    assert [one.ids for one in case.inactive] == [(3, 2)]
    assert case.token == " are"


def test_what_followed_is_told_and_how_often_it_was_the_neurons_token(prompts):
    rows = prompts.rows("L1.N0", "L0.H1")
    assert rows.next_token.tolist() == [" if", " are", " are"]
    assert follow_share(rows) == pytest.approx(2 / 3)
    unknown = prompts.rows("L1.N7", "L0.H1")
    assert unknown.next_token.tolist() == [None]
    assert pd.isna(follow_share(unknown))


def test_a_prompt_that_was_explained_from_cannot_be_asked_about(prompts):
    case = prompts.case("L1.N0", "L0.H1")
    test = tuple(explainer.examples(prompts.rows("L1.N0", "L0.H1", "test")))
    check_apart(case, Question(Explanation("contrast", "so"), test))
    with pytest.raises(LookupsError, match="c/train/0 was used to explain"):
        check_apart(case, Question(Explanation("contrast", "so"), (*test, case.active[0])))
    copy = test[0]._replace(ids=case.active[0].ids)  # another key, the same words
    with pytest.raises(LookupsError, match="leave it out of those to score"):
        check_apart(case, Question(Explanation("contrast", "so"), (copy,)))


def test_how_far_kinds_lie_apart_is_counted_in_sds_within_a_kind():
    rows = pd.DataFrame({"effect": [0.6, 0.8, 0.1, 0.3], "active": [True, True, False, False]})
    apart = defined_in("08_scores").apart
    assert apart(rows, "effect") == pytest.approx(0.5 / 0.02**0.5)
    assert pd.isna(apart(rows.assign(effect=1.0), "effect"))
    assert pd.isna(apart(rows[:3], "effect"))  # one inactive prompt has no spread
