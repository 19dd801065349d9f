"""What numbers say: intervals, differences, scores, tests against chance.

Nothing here knows what a model, a prompt or a run is.
"""
