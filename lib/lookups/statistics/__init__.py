"""What numbers say: intervals, differences, scores, tests against chance.

Tables and lists of numbers come in; nothing here knows what a model or a run is.
"""
