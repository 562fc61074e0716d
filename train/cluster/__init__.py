"""Many processes that train together. No NPU has run this: it was tried on CPU, with real processes of MindSpore.

environment    variables of the environment -> the place of a process in its job
launch         the launcher, which sets them: starts the ranks of a node, and ends all when one fails
rank           what a rank does first: end with its launcher, and end when it is stuck
world          its place -> World: rank, size; sums, and what ranks agree on, outside of graphs
collectives    what graphs exchange
"""
