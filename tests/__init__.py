import pytest

pytest.register_assert_rewrite("tests.map_views", "tests.screens", "tests.browser")
