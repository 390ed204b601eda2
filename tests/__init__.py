import os

import pytest

# two processes share two cores, and the children of each; read before numpy is imported there
os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite(
    "tests.support.map_views", "tests.support.screens", "tests.support.browser"
)
