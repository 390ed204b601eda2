"""The whole story of a run: made, opened, attacked, mapped, measured, brought elsewhere."""
