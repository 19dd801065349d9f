"""When is a head active, in words: explainers, their baselines and controls, the blind sort.

What an explanation is worth is scored in `statistics`.
"""
