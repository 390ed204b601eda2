"""The app as a command, `driftmap`; installed, also the app itself and the files that ship.

The app's own modules are not imported by this name: Streamlit runs `app.py`, beside which they lie.
"""
