import numpy as np

from dicom_node.attention import lay_over, maps_from_png, maps_to_png


def test_maps_come_back_from_one_grey_picture() -> None:
    maps = np.random.default_rng(1).integers(0, 256, (3, 8, 8), dtype=np.uint8)

    png = maps_to_png(maps)

    assert png.startswith(b"\x89PNG")
    np.testing.assert_array_equal(maps_from_png(png), maps)


def test_film_stays_grey_where_the_model_did_not_look_and_where_it_saw_nothing() -> None:
    film = np.full((20, 12), 100, np.uint8)
    attended = np.zeros((2, 2), np.uint8)
    attended[1, 1] = 255  # right below, of the centre square

    picture = lay_over(film, attended)

    assert picture.shape == (20, 12, 3)
    assert (picture[:4] == 100).all()  # above the square
    assert (picture[16:] == 100).all()
    assert (picture[4:7, :3] == 100).all()
    red, _, blue = picture[15, 11]
    assert red > 100 > blue
