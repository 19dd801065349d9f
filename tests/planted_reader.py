"""The rules of the planted languages derived a second time, from the text alone.

If the generator and this reading agree on every slot, the labels can serve as the truth for
everything that is measured on them.
"""

# What a first and a second word mean together, by the number of the target.
TOGETHER = {0: (4, 1, 2, 7), 1: (5, 2, 3, 4), 2: (6, 7, 0, 1), 3: (3, 0, 5, 6)}


def meanings(words_of_kind, two):
    """What each cue of a kind means: a word, or a pair of words, to a target's number."""
    if not two:
        return {(word,): meant for meant, words in enumerate(words_of_kind) for word in words}
    flat = [word for words in words_of_kind for word in words]
    return {(flat[i], flat[4 + j]): TOGETHER[i][j] for i in range(4) for j in range(4)}


def reader(grammar, *, denial=" no"):
    """Return a function that finds the slots of a text: (marker's place, kind, cue, target)."""
    two = hasattr(grammar, "square")
    width = 2 if two else 1
    topics = meanings(grammar.topics, two)
    fillers = meanings([(word,) for word in grammar.overriding], two)
    titles = meanings([(word,) for word in grammar.titles], two)

    def read(text):
        words = [f" {w}" if w != "." else w for w in text.replace(".", " .").split()]
        found, begin = [], width + 1
        for at, word in enumerate(words):
            if word == ".":
                begin = at + 1
            if word not in grammar.markers:
                continue
            there = [p for p in range(begin, at) if tuple(words[p : p + width]) in topics]
            counted = [p for p in there if words[p - 1] != denial]
            if tuple(words[at - width : at]) in fillers:
                kind, cue, table = "filler", at - width, fillers
            elif counted:
                kind, cue, table = "topic", counted[-1], topics
            else:
                kind, cue, table = "title", 0, titles
            turned = grammar.permutations[grammar.markers.index(word)]
            meant = table[tuple(words[cue : cue + width])]
            found.append((at, kind, cue, grammar.targets[turned[meant]]))
        return found, words

    return read
