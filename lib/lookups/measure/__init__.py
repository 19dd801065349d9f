"""What a neuron does: the token it writes, what fires it, which heads feed it, what a change costs.

Numbers come out as they are: rules and thresholds stand in the chapters, tests in `statistics`.
"""
