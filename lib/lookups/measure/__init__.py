"""What a neuron does: the token it writes, what fires it, which heads feed it, what a change costs.

Numbers come out as they are; what they say is judged in `statistics`.
"""
