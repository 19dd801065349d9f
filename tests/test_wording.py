"""Votes of clues against counting by hand and leaving out for real, and where they say nothing."""

from math import log

import numpy as np
import pytest
from lookups.wording import (
    ANYWHERE,
    Clue,
    clues,
    tallies_left_out,
    tally,
    votes,
)


def test_the_clues_of_a_prompt_are_its_tokens_and_its_last_places():
    assert clues([7, 5, 7], places=2) == {
        Clue(7, ANYWHERE),
        Clue(5, ANYWHERE),
        Clue(7, 0),
        Clue(5, 1),
    }


def test_a_vote_is_the_log_of_the_two_shares():
    prompts = [{Clue(1, 0)}, {Clue(1, 0), Clue(2, 0)}, {Clue(2, 0)}, {Clue(3, 0)}]
    given = votes(prompts, [True, True, False, False])
    assert given[Clue(1, 0)] == pytest.approx(log((1 + 0.1) / 0.1))
    assert given[Clue(2, 0)] == pytest.approx(0)
    assert given[Clue(3, 0)] == pytest.approx(log(0.1 / (0.5 + 0.1)))


def test_an_unseen_clue_votes_nothing_however_uneven_the_kinds():
    given = votes([{Clue(1, 0)}] * 2 + [{Clue(2, 0)}] * 50, [True] * 2 + [False] * 50)
    assert tally({Clue(9, 0)}, given) == 0


def test_words_that_settle_it_are_told_on_prompts_left_out():
    random = np.random.default_rng(0)
    active = random.random(40) < 0.4
    prompts = [clues([*random.integers(10, 60, 6).tolist(), 1 if a else 2, 5]) for a in active]
    assert ((tallies_left_out(prompts, active) > 0) == active).all()


def test_words_that_say_nothing_are_at_chance():
    random = np.random.default_rng(1)
    scores = []
    for share in (0.25, 0.5, 0.75):
        for _ in range(20):
            active = random.random(40) < share
            prompts = [clues(random.integers(0, 30, 8)) for _ in active]
            called = tallies_left_out(prompts, active) > 0
            scores.append((called[active].mean() + 1 - called[~active].mean()) / 2)
    assert np.mean(scores) == pytest.approx(0.5, abs=0.05)


def test_a_prompt_has_no_say_in_its_own_tally():
    prompts = [clues([1, 2]), clues([1, 3]), clues([4, 2]), clues([4, 5])]
    active = [True, True, False, False]
    left_out = tallies_left_out(prompts, active)
    for i, prompt in enumerate(prompts):
        rest = [j for j in range(4) if j != i]
        given = votes([prompts[j] for j in rest], [active[j] for j in rest])
        assert left_out[i] == pytest.approx(tally(prompt, given))


def test_votes_need_both_kinds():
    with pytest.raises(ValueError, match="1 or more of both active and inactive"):
        votes([clues([1])], [True])
    with pytest.raises(ValueError, match="2 or more"):
        tallies_left_out([clues([1])] * 3, [True, True, False])
