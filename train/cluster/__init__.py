"""Many processes that train together.

environment    variables of the environment -> the place of a process in its job
world          that place -> World: rank, size; sums, and what ranks agree on, outside of graphs
collectives    what graphs exchange
"""
