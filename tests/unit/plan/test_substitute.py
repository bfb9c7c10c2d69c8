"""The two stages of $(...)."""

import pytest

from controller.plan.substitute import Form, SubstitutionError, expand_params, expand_places, forms, parse, render

PLACES = {"workspace": "/w", "results": "/r", "data.digits": "/d"}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ()),
        ("plain", ("plain",)),
        ("$(seed)", (Form("seed"),)),
        ("a$(x)b", ("a", Form("x"), "b")),
        ("$$(x)", ("$(", "x)")),
        ("$$$(x)", ("$", Form("x"))),
        ("$$$$(x)", ("$$(", "x)")),
        ("$x $$ $", ("$x $$ $",)),
        ("$(open", (Form("open"),)),
        ("$(", (Form(""),)),
        ("$(a$(b)", (Form("a$(b"),)),
    ],
)
def test_grammar(text, tokens):
    assert parse(text) == tokens


@pytest.mark.parametrize(
    ("text", "params", "seed", "expected"),
    [
        ("$(params.lr)", {"lr": 1e-3}, None, "0.001"),
        ("$(params.lr)", {"lr": 1e21}, None, "1e+21"),
        ("$(params.lr)", {"lr": 1.0}, None, "1"),
        ("$(params.on)", {"on": True}, None, "true"),
        ("$(params.no)", {"no": None}, None, "null"),
        ("$(params.l)", {"l": [1, {"b": 2, "a": 1.50}]}, None, '[1,{"a":1.5,"b":2}]'),
        ("$(params.a.b)", {"a.b": "x"}, None, "x"),
        ("--seed=$(seed)", {}, 7, "--seed=7"),
        ("$(seed)", {}, 0, "0"),
        ("$(seed)", {}, None, "$(seed)"),
        ("$(params.x)", {}, 1, "$(params.x)"),
        ("$$(seed)", {}, 7, "$$(seed)"),
        ("$(results)/$(params.n)", {"n": "m"}, None, "$(results)/m"),
        ("$(params.evil)", {"evil": "$(results)"}, None, "$$(results)"),
        ("$(params.a)$(params.b)", {"a": "$", "b": "(results)"}, None, "$$(results)"),
        ("$(params.a)$(results)", {"a": "$"}, None, "$$$(results)"),
    ],
)
def test_stage_one(text, params, seed, expected):
    assert expand_params(text, params, seed) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(results)/m.npz", "/r/m.npz"),
        ("$(data.digits)", "/d"),
        ("echo $$(date) $HOME $$", "echo $(date) $HOME $$"),
        ("$$$(results)", "$/r"),
    ],
)
def test_stage_two(text, expected):
    assert expand_places(text, PLACES) == expected


@pytest.mark.parametrize("text", ["$(params.x)", "$(seed)", "$(data.other)", "$(checkpoints)", "$(open"])
def test_stage_two_never_runs_what_it_does_not_know(text):
    with pytest.raises(SubstitutionError) as caught:
        expand_places(text, PLACES)
    assert caught.value.form == forms(text)[0]
    assert "known are data.digits, results, workspace" in str(caught.value)


def test_a_value_is_never_expanded_again():
    once = expand_params("$(params.a) $(params.b)", {"a": "$(params.b)", "b": "$$(seed) $(seed)"}, 7)
    assert expand_places(once, {}) == "$(params.b) $$(seed) $(seed)"


def test_render_joins_literals():
    assert render(("a$", "(b", "$", Form("x"))) == "a$$(b$$$(x)"
