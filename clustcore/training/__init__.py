"""Training: one loop for every model and defence.

Its epochs, its views, its resume state, and the teacher of a training that has one.
"""
