"""When is a head active, in words: explainers, a model's server, baselines, the blind sort.

From what on a head counts as active is a rule of chapter 5. Controls are put together in chapter 8;
here lots are drawn for them. What an explanation is worth is scored in `statistics`.
"""
