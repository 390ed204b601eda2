"""The screens of the app: what `app.py` and `pages/` are made of."""
