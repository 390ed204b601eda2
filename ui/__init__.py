"""The app: pages made of parts, a scene that a link can hold, and the map."""
