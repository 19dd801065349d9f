"""The blind sort: what a deck holds, that its reader cannot know more, and how verdicts count."""

from itertools import product

import pandas as pd
import pytest
import yaml
from inline import defined_in
from lookups.errors import LookupsError
from lookups.explain import blind_sort
from lookups.explain.blind_sort import SORT, majority, mapping_of, read_verdicts, scored
from lookups.run.store import save
from lookups.settings import read_run
from sklearn.metrics import cohen_kappa_score

from tools.blind_sort import as_markdown, main, verdicts_of

CHAPTER = defined_in("06_attention_specialization")
LEARN, draw_deck = CHAPTER.LEARN, CHAPTER.draw_deck
PAIRS = [("L1.N5", "L0.H1"), ("L1.N5", "L0.H2"), ("L1.N7", "L1.H0")]


def prompts_of(pairs=PAIRS, train=LEARN + 2, test=7) -> pd.DataFrame:
    """As many prompts of each kind in each split; no text is another's."""
    rows = []
    for (neuron, head), split, active in product(pairs, ("train", "test"), (True, False)):
        for number in range(train if split == "train" else test):
            key = f"own/{split}/{2 * number + active}"
            text = f" {head} *of* <b>\n {'not' * active} {key}"
            rows.append((neuron, head, split, key, text, " they", active, number / 100 + active))
    columns = ["neuron", "head", "split", "prompt", "text", "token", "active", "decides"]
    return pd.DataFrame(rows, columns=columns)


def pairs_of(pairs=PAIRS) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["neuron", "head"]).assign(kind="random")


@pytest.fixture
def deck() -> pd.DataFrame:
    return draw_deck(pairs_of(), prompts_of(), seed=0)


def right_letters(deck: pd.DataFrame) -> dict[int, str]:
    held_out = deck[deck.role == "sort"].sort_values(["item", "place"])
    letters = held_out.active.map({True: "A", False: "B"}).groupby(held_out["item"]).agg("".join)
    return {int(number): said for number, said in letters.items()}


def test_every_item_teaches_with_train_and_asks_about_test(deck):
    for _, item in deck.groupby("item"):
        learn, sort = item[item.role == "learn"], item[item.role == "sort"]
        assert learn.prompt.str.contains("/train/").all()
        assert sort.prompt.str.contains("/test/").all()
        surest = [2 * n + 1 for n in range(LEARN + 1, 1, -1)] + [2 * n for n in range(LEARN)]
        assert learn.prompt.tolist() == [f"own/train/{number}" for number in surest]
        assert learn.active.tolist() == [True] * LEARN + [False] * LEARN
        assert sort.active.value_counts().to_dict() == {True: SORT // 2, False: SORT // 2}
        assert not item.prompt.duplicated().any()
        assert sort.place.tolist() == list(range(1, SORT + 1))


def test_too_few_prompts_cannot_be_sorted_and_one_kind_fills_in_for_the_other():
    prompts = prompts_of(PAIRS[:1])
    few = prompts.drop(index=prompts[(prompts.split == "test") & prompts.active].index[3:])
    assert CHAPTER.is_sortable(few)
    sort = draw_deck(pairs_of(PAIRS[:1]), few, seed=0).query("role == 'sort'")
    assert sort.active.value_counts().to_dict() == {False: 7, True: 3}
    enough = [(4, 5), (3, 7), (4, 4), (4, 0)]
    sortable = [CHAPTER.is_sortable(prompts_of(PAIRS[:1], *sizes)) for sizes in enough]
    assert sortable == [True, False, False, False]


def test_a_deck_depends_on_neither_the_order_of_rows_nor_an_item_on_the_others(deck):
    alone = draw_deck(pairs_of(PAIRS[:1]), prompts_of(PAIRS[:1]), seed=0)
    same = deck[(deck.neuron == PAIRS[0][0]) & (deck["head"] == PAIRS[0][1])]
    assert alone.drop(columns="item").equals(same.drop(columns="item").reset_index(drop=True))
    again = draw_deck(pairs_of(), prompts_of().sample(frac=1, random_state=3), seed=0)
    pd.testing.assert_frame_equal(again, deck)
    other = draw_deck(pairs_of(), prompts_of(), seed=1)
    assert not set(other.digest) & set(deck.digest)


def test_the_reader_sees_every_prompt_and_no_key(deck):
    page = as_markdown(deck)
    assert page.count("«") == len(deck) + 1  # one in the instructions
    for hidden in ("L1.N5", "L1.N7", "random", *deck.digest):
        assert hidden not in page
    for _, item in deck.groupby("item"):
        part = page.split(f"## Item {item['item'].iloc[0]}\n")[1].split("## Item")[0]
        groups = part.split("To be sorted")[0].split("B: not active")
        for kind, group in zip((True, False), groups, strict=True):
            shown = item[(item.role == "learn") & (item.active == kind)]
            assert all(text.replace("\n", "⏎") in group for text in shown.text)
        order = [part.index(text.replace("\n", "⏎")) for text in item[item.role == "sort"].text]
        assert order == sorted(order)


def test_held_out_prompts_are_not_in_the_order_of_their_answers():
    pairs = [(f"L1.N{n}", "L0.H0") for n in range(40)]
    deck = draw_deck(pairs_of(pairs), prompts_of(pairs), seed=0)
    first = deck[(deck.role == "sort") & (deck.place <= SORT // 2)]
    assert 0.4 < first.active.mean() < 0.6


def test_an_item_is_clear_up_to_one_error_and_none_without_a_verdict(deck):
    right, turned = right_letters(deck), str.maketrans("AB", "BA")
    for wrong in range(4):
        letters = {n: said[:wrong].translate(turned) + said[wrong:] for n, said in right.items()}
        table = scored(deck, verdicts_of(deck, letters))
        assert table.correct.tolist() == [SORT - wrong] * len(PAIRS)
        assert table.clear.tolist() == [SORT - wrong >= blind_sort.CLEAR] * len(PAIRS)
    digest = deck.digest.iloc[0]
    said = verdicts_of(deck, right)[digest]
    table = scored(deck, {digest: said, "of another run": "A" * SORT})
    assert (table.correct.isna().sum(), table.clear.sum()) == (2, 1)
    unread = verdicts_of(deck, dict.fromkeys(right, "?" * SORT))
    assert scored(deck, unread).correct.tolist() == [0, 0, 0]
    assert scored(draw_deck(pairs_of([]), prompts_of(), seed=0), {}).empty


@pytest.mark.parametrize("answer", [None, "ABAB", "A" * 9 + "C", "a" * 10])
def test_answers_that_cannot_be_read_say_what_is_wanted(deck, answer):
    letters = right_letters(deck) | {2: answer}
    with pytest.raises(LookupsError, match=r"item 2 needs 10 letters, A, B or \?, not"):
        verdicts_of(deck, letters)


def test_the_majority_is_what_more_than_half_of_an_items_readers_said():
    readers = [{"x": "ABAB?", "y": "AA"}, {"x": "AAAA?"}, {"x": "BBA??"}]
    assert majority(readers) == {"x": "ABA??", "y": "AA"}
    assert majority(readers[:1]) == readers[0]
    assert majority([{"x": "AB"}, {"x": "BB"}]) == {"x": "?B"}
    assert majority([]) == {}


def test_two_readers_agree_as_often_as_they_gave_the_same_letter():
    one, other = {"x": "ABAB", "y": "AA"}, {"x": "ABBB", "y": "A?", "z": "BB"}
    (row,) = CHAPTER.agreement([one, other]).itertuples()
    assert (row.reader, row.other, row.letters) == (1, 2, 5)
    assert row.same == pytest.approx(4 / 5)
    assert row.kappa == pytest.approx(cohen_kappa_score(list("ABABA"), list("ABBBA")))
    assert len(CHAPTER.agreement([one, other, one])) == 3
    assert CHAPTER.agreement([{"x": "AA"}] * 2).isna().kappa.all()


def test_from_the_table_to_the_record(deck, artifacts, tmp_path):
    run, right = tmp_path / "mine.yml", right_letters(deck)
    run.write_text("{extends: planted, verdicts: said.yml}")
    (tmp_path / "said.yml").write_text("")
    settings = read_run(run)
    assert read_verdicts(settings.verdicts) == []
    assert mapping_of(settings.verdicts) == {}
    for stage in ("neurons", "prompts", "follow_rates", "suffixes", "heads", "pairs"):
        save(settings, stage, pd.DataFrame({"neuron": [0]}))
    save(settings, "deck", deck)
    assert "give this to readers" in main(["export", str(run), str(tmp_path / "deck")])
    assert [path.name for path in (tmp_path / "deck").iterdir()] == ["deck.md"]
    readers = [right, dict.fromkeys(right, "?" * SORT)]
    files = [tmp_path / "one.yml", tmp_path / "two.yml"]
    for path, letters in zip(files, readers, strict=True):
        path.write_text(yaml.safe_dump(letters))
    told = ["record", str(run), "language models", *map(str, files)]
    assert "now run chapter 6 again" in main(told)
    assert mapping_of(settings.verdicts)["readers"] == "language models"
    assert read_verdicts(settings.verdicts) == [verdicts_of(deck, one) for one in readers]


@pytest.mark.parametrize("text", [None, "- a list", "1: [", "AABB"])
def test_files_without_verdicts_say_what_to_write(text, tmp_path):
    path = tmp_path / "said.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LookupsError, match=r"said\.yml cannot be read .*; write lines such as"):
        read_verdicts(path)
    with pytest.raises(LookupsError, match=r"export RUN FOLDER \| record RUN READERS VERDICTS"):
        main(["sort"])
