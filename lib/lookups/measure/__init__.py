"""What a neuron does: what fires it, which heads feed it, what a change costs.

Numbers come out as they are: rules and thresholds stand in the chapters, tests in `statistics`.
"""
