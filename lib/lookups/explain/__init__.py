"""When is a head active, in words: explainers, a language model among them, and a blind sort.

From what on a head counts as active is a rule of chapter 5. What an explanation is worth is scored
in `statistics`, and compared in chapter 8.
"""
