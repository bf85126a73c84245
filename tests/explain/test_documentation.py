"""docs/explaining.md says of rules and composites what is so."""

import re
from pathlib import Path

from keras import layers

from explain import COMPOSITES, build_explainer, read_composite
from explain.rules import RULES
from tests.explain.running import functional

TEXT = (Path(__file__).parents[2] / "docs" / "explaining.md").read_text()


def section(heading):
    return TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def first_column(text):
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", section("A composite of one's own"), re.MULTILINE | re.DOTALL)
    return found


def test_every_rule_and_every_composite_is_told():
    assert first_column(section("Rules for layers with weights")) == RULES.keys()
    assert first_column(section("Composites")) == set(COMPOSITES)


def test_every_row_of_a_table_has_all_its_cells():
    for table in re.findall(r"(?:^\|.*\|\n)+", TEXT, re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


def test_the_composite_of_ones_own_reads_as_its_python_and_assigns_as_told(tmp_path):
    (tmp_path / "mine.toml").write_text(block("toml"))
    composite = read_composite(tmp_path / "mine.toml")
    written = {}
    exec(block("python"), written)  # noqa: S102 - a block of our own
    assert composite.assignments == written["mine"].assignments
    modes = [(each.name, each.bias, each.attention, each.structure) for each in (composite, written["mine"])]
    assert modes == [("mine", "ignore", "uniform", "gate")] * 2

    def build(x):
        for name in ("stem", "block1_a", "block1_b", "block2_a"):
            x = layers.Conv2D(2, 3, name=name, activation="relu")(x)
        x = layers.Dense(4, name="hidden", activation="relu")(layers.Flatten()(x))
        return layers.Dense(3, name="head", activation="softmax")(x)

    explainer = build_explainer(functional(build, (12, 12, 1)), composite=composite)
    assert [(entry["layer"], entry["rule"]) for entry in explainer.rules] == [
        ("stem", "z_box"),
        ("block1_a", "gamma"),
        ("block1_b", "gamma"),
        ("block2_a", "z_plus"),
        ("hidden", "epsilon"),
        ("head", "zero"),
    ]
