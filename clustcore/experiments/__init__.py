"""What a command makes again: the shipped runs, the papers' tables, ablations, reports."""
