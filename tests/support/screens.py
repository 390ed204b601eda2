"""The app without a browser: opens a page as a link would, and reads what stands on it."""

from __future__ import annotations

import functools
import json
from typing import Any

from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from tests.support import ROOT

SHIPPED = sorted(path.parent.name for path in (ROOT / "assets" / "runs").glob("*/card.json"))
# those that show a run; Train has tests of its own
PAGES = sorted(
    f"pages/{path.name}" for path in (ROOT / "pages").glob("*.py") if path.name != "6_Train.py"
)
# each new app reads the metadata of all that is installed, in search of components: once is enough
manifest_scanner.scan_component_manifests = functools.cache(
    manifest_scanner.scan_component_manifests
)


def open_app(page: str | None = None, **query: str) -> AppTest:
    """The app on its home page, or on `page` as a link would open it."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    if page is None:
        return app.run()
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(page).run()


def header(app: AppTest) -> dict[str, Any]:
    """The JSON header of the map's message."""
    (message,) = [c.proto.bytes for c in app.get("bidi_component") if c.proto.bytes]
    size = int.from_bytes(message[4:8], "little")
    return json.loads(message[8 : 8 + size])


def calm(app: AppTest) -> bool:
    """No exception, no error and no warning on the screen."""
    return not (app.exception or app.error or app.warning)


def texts(app: AppTest) -> list[str]:
    """All captions and Markdown of the screen."""
    return [item.value for item in (*app.caption, *app.markdown)]
