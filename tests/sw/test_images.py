"""Batches of images that are none."""

import numpy as np
import pytest

from dorefabric.sw.images import InputError, check_images

BAD = {
    "input must be unsigned 8-bit integers, not float64": np.zeros((4, 1, 2, 3)),
    "input must be unsigned 8-bit integers, not bool": np.zeros((4, 1, 2, 3), bool),
    "input must have shape (N, 1, 2, 3), not (1, 2, 3)": np.zeros((1, 2, 3), np.uint8),
    "input must have shape (N, 1, 2, 3), not (4, 1, 3, 2)": np.zeros((4, 1, 3, 2), int),
    "input values must be from 0 to 3, not 0 to 4": np.arange(6).reshape(1, 1, 2, 3).clip(0, 4),
    "input values must be from 0 to 3, not -1 to 0": -np.eye(2, 3, dtype=np.int8)[None, None],
}


@pytest.mark.parametrize("message", BAD)
def test_images_that_are_no_codes(message: str) -> None:
    with pytest.raises(InputError) as error:
        check_images(BAD[message], (1, 2, 3), 3)
    assert str(error.value) == message


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64])
def test_any_integers_and_any_number_of_images(dtype: type[np.generic]) -> None:
    check_images(np.full((2, 1, 2, 3), 3, dtype), (1, 2, 3), 3)
    check_images(np.zeros((0, 1, 2, 3), dtype), (1, 2, 3), 3)
