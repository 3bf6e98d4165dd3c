import pytest

from masa_node.chat.errors import NotTranslatable
from masa_node.dialects.translation.conversation import Image
from masa_node.dialects.translation.media import image_of, media_type_of, split_data_url, url_of
from masa_node.dialects.translation.wire import MAX_DATA_CHARS

PNG = "iVBORw0KGgo="


@pytest.mark.parametrize("url", [f"data:image/png;base64,{PNG}", "https://example.org/cat.png"])
def test_a_picture_is_at_the_same_url_after_there_and_back(url: str) -> None:
    assert url_of(image_of(url)) == url


def test_a_data_url_that_does_not_say_what_it_is_is_known_by_its_first_bytes() -> None:
    assert image_of("data:;base64,/9j/4AAQ").media_type == "image/jpeg"
    assert [media_type_of(data) for data in (PNG, "R0lGODlh", "UklGRg==", "????")] == [
        "image/png",
        "image/gif",
        "image/webp",
        "image/png",
    ]


def test_the_detail_auto_is_what_is_meant_when_nothing_is_said() -> None:
    assert image_of("https://a/b", "auto") == image_of("https://a/b") == Image(url="https://a/b")
    assert image_of("https://a/b", "low").detail == "low"


@pytest.mark.parametrize("url", ["data:image/png,raw", "data:image/png;base64", "data:"])
def test_a_data_url_without_base64_is_refused(url: str) -> None:
    with pytest.raises(NotTranslatable, match="base64"):
        split_data_url(url)


def test_a_picture_has_a_bound() -> None:
    with pytest.raises(NotTranslatable, match=str(MAX_DATA_CHARS)):
        image_of("data:image/png;base64," + "A" * (MAX_DATA_CHARS + 1))
