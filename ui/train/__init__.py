"""Training from the app: what is asked for, checked, begun and watched."""
