import pytest

from explain import Assignment, Composite, CompositeError, Rule, read_composite

EVERYTHING = """
name = "mine"
bias = "ignore"
attention = "uniform"
structure = "share"

[[rules]]
rule = "z_box"
first = true
low = 0
high = 255.0

[[rules]]
rule = "gamma"
kinds = ["convolution", "dense"]
layers = ["block1_*", "head"]
types = ["Conv2D"]
gamma = 0.5
bias = "share"

[[rules]]
rule = "zero"
last = true
position = -1

[[rules]]
rule = "epsilon"
"""


def read(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return read_composite(path)


def test_a_file_holds_all_that_a_composite_has(tmp_path):
    assert read(tmp_path, EVERYTHING) == Composite(
        name="mine",
        assignments=(
            Assignment(Rule("z_box", {"low": 0, "high": 255.0}), first=True),
            Assignment(
                Rule("gamma", {"gamma": 0.5, "bias": "share"}),
                kinds=frozenset({"convolution", "dense"}),
                layers=("block1_*", "head"),
                types=("Conv2D",),
            ),
            Assignment(Rule("zero"), last=True, position=-1),
            Assignment(Rule("epsilon")),
        ),
        bias="ignore",
        attention="uniform",
        reason="asked for by own.toml",
        structure="share",
    )


def test_what_a_file_leaves_out_is_the_default(tmp_path):
    own = Composite("own", (Assignment(Rule("epsilon")),), reason="asked for by own.toml")
    assert read(tmp_path, '[[rules]]\nrule = "epsilon"\n') == own


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('layers = "top"', r"`layers` must be a list of texts, .*Received: layers = 'top'"),
        ("layers = [1]", r"`layers` must be a list of texts, .*Received: layers = \[1\]"),
        ('kinds = "dense"', r"`kinds` must be a list of texts, .*Received: kinds = 'dense'"),
        ('kinds = ["attention"]', r"`kinds` are convolution, dense, recurrent\. Received: attention"),
        ('types = "Conv2D"', r"`types` must be a list of texts, .*Received: types = 'Conv2D'"),
        ('first = "yes"', r"`first` must be true or false\. Received: first = 'yes'"),
        ("last = 1", r"`last` must be true or false\. Received: last = 1"),
        ("position = 1.0", r"`position` must be a whole number, .*Received: position = 1\.0"),
        ("position = true", r"`position` must be a whole number, .*Received: position = True"),
        ('epsilon = "small"', r"`epsilon` must be a finite number\. Received: epsilon='small'"),
        ("gamma = 1", r"Rule 'epsilon' takes bias, epsilon\. Received: gamma"),
        ("alpha = [1]", r"Rule 'epsilon' takes bias, epsilon\. Received: alpha"),
        ("epsilon = [1]", r"`epsilon` must be a finite number\. Received: epsilon=\[1\]"),
        ("bias = 3", r"`bias` must be one of absorb, ignore, share\. Received: bias=3"),
    ],
)
def test_a_rule_whose_entries_are_of_the_wrong_type_is_refused(tmp_path, line, message):
    with pytest.raises(CompositeError, match=message):
        read(tmp_path, f'[[rules]]\nrule = "epsilon"\n{line}\n')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules = 1", r"A composite has `\[\[rules\]\]` entries.*Received in .*own\.toml: rules"),
        ("", r"A composite has `\[\[rules\]\]` entries.*Received in .*own\.toml: nothing"),
        ("rules = [1]", r"Each entry of `rules` names its `rule`\. Received: 1"),
        ("[[rules]]\nrule = 1", r"Each entry of `rules` names its `rule`\. Received: \{'rule': 1\}"),
        ('[[rules]]\nrule = "magic"', r"Unknown rule\. Expected one of .*Received: 'magic'"),
        ('extra = 1\n[[rules]]\nrule = "zero"', r"A composite has .*extra, rules"),
        ('name = 1\n[[rules]]\nrule = "zero"', r"`name` must be a text\. Received in .*own\.toml: name = 1"),
        ('bias = "drop"\n[[rules]]\nrule = "zero"', r"`bias` must be one of .*bias='drop'"),
        ('attention = 2\n[[rules]]\nrule = "zero"', r"`attention` one of gate, uniform.*attention=2"),
        ("[[rules]", r"Expected a TOML file with a composite\. Received: .*own\.toml"),
    ],
)
def test_a_file_that_is_no_composite_is_refused(tmp_path, text, message):
    with pytest.raises(CompositeError, match=message):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CompositeError, match=r"Expected a TOML file .*none\.toml"):
        read_composite(tmp_path / "none.toml")
