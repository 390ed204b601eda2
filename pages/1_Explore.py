"""Explore: what did the model group together?"""

from __future__ import annotations

from ui import explore
from ui.scene import opening

with opening.run_page("Explore", "Explore: what did the model group together?") as page:
    choice = explore.view_controls(page.controls, page.now)
    explore.about_map(page.controls, page.arrays)
    page.status.caption(explore.status(page.now, page.arrays, choice))
    explore.explore_map(page.now, page.arrays, choice)
