import pytest

pytest.register_assert_rewrite(
    "tests.support.map_views", "tests.support.screens", "tests.support.browser"
)
