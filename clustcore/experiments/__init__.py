"""What is reproduced by a command: the shipped runs, the papers' tables, ablations, and the reports
written of them.
"""
