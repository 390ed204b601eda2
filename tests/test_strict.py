"""With the packages of requirements-dev.txt every shape is checked, and a warning fails a test."""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from clustcore.training.loop import train
from clustcore.training.teacher import balance

pytestmark = pytest.mark.skipif(find_spec("beartype") is None, reason="beartype is not installed")


def test_a_wrong_shape_is_refused():
    assert balance(np.array([0, 1])) == pytest.approx(np.log(2))
    with pytest.raises(TypeCheckError, match="clusters: Int"):
        balance(np.array([[0, 1]]))


def test_no_module_was_imported_before_its_shapes_could_be_checked():
    loaded = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "clustcore"}
    assert train.__module__ in loaded
    hooked = type(loaded["clustcore.training.loop"].__spec__.loader)
    assert hooked.__module__.startswith("jaxtyping")
    assert {n for n, m in loaded.items() if type(m.__spec__.loader) is not hooked} == set()


def test_a_warning_is_an_error():
    with pytest.raises(UserWarning, match="look here"):
        warnings.warn("look here", stacklevel=1)
