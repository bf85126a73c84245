import pytest

from whyserve.coverage.catalogue import APPLICATIONS, choose
from whyserve.errors import CommandError


def test_patterns_choose_in_the_order_of_the_catalogue_and_whatever_the_case():
    assert choose(["resnet50*", "MobileNet"]) == ["MobileNet", "ResNet50", "ResNet50V2"]


def test_without_a_pattern_all_are_chosen():
    assert choose([]) == list(APPLICATIONS)


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(CommandError, match="Received: 'AlexNet', which matches none"):
        choose(["MobileNet", "AlexNet"])
