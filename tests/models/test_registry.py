import subprocess
import sys

import pytest

from models import data, recipes, registry
from models.errors import UnknownNameError

KINDS = [
    pytest.param(registry.architectures, registry.architecture, registry.register, "architecture", id="architectures"),
    pytest.param(data.datasets, data.dataset, data.register, "data set", id="data sets"),
    pytest.param(recipes.recipes, recipes.recipe, recipes.register, "recipe", id="recipes"),
]


@pytest.mark.parametrize(("every", "find", "register", "kind"), KINDS)
def test_entries_are_found_by_their_own_name(every, find, register, kind):
    for name, entry in every().items():
        assert entry.name == name
        assert find(name) is entry
        assert entry.summary


@pytest.mark.parametrize(("every", "find", "register", "kind"), KINDS)
def test_a_duplicate_is_refused(every, find, register, kind):
    entry = next(iter(every().values()))
    with pytest.raises(ValueError, match=rf"Each {kind} has one name. Received: name='{entry.name}'"):
        register(entry)


@pytest.mark.parametrize(("every", "find", "register", "kind"), KINDS)
def test_an_unknown_name_lists_the_known_ones(every, find, register, kind):
    known = ", ".join(sorted(every()))
    with pytest.raises(UnknownNameError, match=rf"Unknown {kind}. Received: 'nonesuch'. Known: {known}\."):
        find("nonesuch")


@pytest.mark.parametrize(("every", "find", "register", "kind"), KINDS)
def test_the_caller_gets_a_dict_of_its_own(every, find, register, kind):
    every().clear()
    assert every()


def test_what_can_be_listed_is_listed_without_heavy_libraries():
    program = (
        "import sys; from models import data, recipes, registry; from models.training import TrainingConfig, train\n"
        "print(*registry.architectures(), *data.datasets(), *recipes.recipes())\n"
        "print(*sorted({'tensorflow', 'keras', 'sklearn', 'matplotlib', 'httpx', 'rich'} & set(sys.modules)))"
    )
    names, heavy = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert names.split()[:5] == ["mlp", "cnn", "digits", "fashion_mnist", "cifar10"]
    assert heavy == ""


def test_every_recipe_is_for_a_registered_architecture_and_data_set():
    for recipe in recipes.recipes().values():
        assert recipe.config.architecture in registry.architectures()
        assert recipe.config.data in data.datasets()
        assert recipe.name == f"{recipe.config.architecture}-{recipe.config.data}"
        assert 0.5 < recipe.measured.accuracy < 1.0
        assert recipe.command.startswith(f"whyserve train {recipe.config.architecture} --data {recipe.config.data}")
